#!/usr/bin/env python3
"""Holds a running server against the transformers library: the tokens of a text, and what the model says of its first ones.

    compare_server_with_transformers.py --url http://127.0.0.1:8000 --checkpoint DIRECTORY --text FILE [--tokens 512]

The whole text is tokenized by both. Of the first tokens the server's prompt_logprobs (each token's own and those of the 20
likeliest) are compared with a float32 forward pass; so serve in dense mode, with room for all of them. Fails when the tokens
differ, or a log-probability by more than --tolerance. Needs torch and transformers.
"""
import argparse
import json
import sys
import urllib.request
from pathlib import Path

import torch
import transformers

TOP = 20


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the directory that it serves")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=512, help="to compare log-probabilities of (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of a log-probability (default: %(default)s)")
    return parser.parse_args()


def ask(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as response:
        return json.load(response)


def served_logprobs(url, tokens):
    """For each token but the first: from token id to log-probability, of itself and of the likeliest."""
    answer = ask(url, "/v1/completions", {"prompt": tokens, "max_tokens": 1, "prompt_logprobs": TOP})
    return [{int(token): entry["logprob"] for token, entry in entries.items()}
            for entries in answer["choices"][0]["prompt_logprobs"][1:]]


def library_logprobs(checkpoint, tokens):
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([tokens])).logits[0, :-1].double(), dim=-1)


def main():
    arguments = parse_arguments()
    transformers.logging.set_verbosity_error()
    text = arguments.text.read_text(encoding="utf-8")
    tokens = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)(text)["input_ids"]
    same = ask(arguments.url, "/tokenize", {"prompt": text})["tokens"] == tokens
    print(f"{arguments.text.name}: {len(tokens):,} tokens, {'the same' if same else 'DIFFERENT'}")

    tokens = tokens[:arguments.tokens]
    served, library = served_logprobs(arguments.url, tokens), library_logprobs(arguments.checkpoint, tokens)
    own = [(entries[token], row[token].item()) for entries, row, token in zip(served, library, tokens[1:])]
    all_of_them = [(logprob, row[token].item()) for entries, row in zip(served, library) for token, logprob in entries.items()]
    likeliest = sum(max(entries, key=entries.get) == row.argmax().item() for entries, row in zip(served, library))
    worst = max(abs(a - b) for a, b in all_of_them)
    print(f"mean loss {-sum(a for a, _ in own) / len(own):.5f}, transformers {-sum(b for _, b in own) / len(own):.5f}; "
          f"a token's own within {max(abs(a - b) for a, b in own):.1e}, all {len(all_of_them):,} within {worst:.1e}; "
          f"the same likeliest token at {likeliest} of {len(own)}")
    return 0 if same and worst <= arguments.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
