"""The `tokenizers` library as stream-bench's peer: for each file name on standard input it encodes and decodes
the text on one thread and answers with both times, in seconds, and the number of tokens."""

import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402 (after the environment)


def main() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for line in sys.stdin:
        with open(line.rstrip("\n"), encoding="utf-8", errors="replace", newline="") as file:
            text = file.read()
        start = time.perf_counter()
        encoding = tokenizer.encode(text, add_special_tokens=False)
        encoded = time.perf_counter()
        ids = encoding.ids
        decoding = time.perf_counter()
        tokenizer.decode(ids, skip_special_tokens=False)
        decoded = time.perf_counter()
        print(encoded - start, decoded - decoding, len(ids), flush=True)


if __name__ == "__main__":
    main()
