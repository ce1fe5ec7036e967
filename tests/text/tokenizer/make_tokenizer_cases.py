"""Writes tests/data/tokenizers/composed.tar.xz: random tokenizers on two small vocabularies, with what the
`tokenizers` library makes of random strings and tokens.

  python tests/text/tokenizer/make_tokenizer_cases.py BYTE-LEVEL-TOKENIZER.JSON SENTENCEPIECE-TOKENIZER.JSON
"""

import io
import json
import pathlib
import random
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import fuzz_tokenizers as fuzz  # noqa: E402 (after the path)
import tokenizers  # noqa: E402

COUNT, STRINGS = 240, 5


def attempt(call):
    """The call's result; None where the library fails, also by panic."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def make_entry(rng, name, model):
    composed = fuzz.compose(rng, model)
    peer = attempt(lambda: tokenizers.Tokenizer.from_str(json.dumps(composed)))
    if peer is None:
        return None
    names = fuzz.lookalikes_of(peer)
    encode, decode = [], []
    for _ in range(STRINGS):
        text = fuzz.random_string(rng, names)[:200]
        ids = attempt(lambda: peer.encode(text).ids)
        if ids is not None:
            encode.append({"text": text, "ids": ids})
        random_ids = [rng.randrange(len(model["vocab"]) + 4) for _ in range(8)]
        for tokens in ([] if ids is None else [ids]) + [random_ids]:
            whole = attempt(lambda: peer.decode(tokens, skip_special_tokens=False))
            if whole is not None:
                text_only = peer.decode(tokens, skip_special_tokens=True)
                decode.append({"ids": tokens, "text": text_only, "whole": whole})
    for key in ("vocab", "merges"):
        del composed["model"][key]
    return {"model": name, "tokenizer": composed, "encode": encode, "decode": decode}


def is_ambiguous(entry):
    """Two added tokens of one normal form, or one of which nothing is left: the library's answer is chance."""
    normalizer = json.dumps(entry["tokenizer"]["normalizer"])
    return any(t["normalized"] for t in entry["tokenizer"]["added_tokens"]) and any(
        step in normalizer for step in ("Strip", "Replace", "NF", "Lowercase", "Nmt"))


def main():
    rng = random.Random(2026)
    models = {}
    for name, file in zip(("byte-level", "sentencepiece"), sys.argv[1:], strict=True):
        with open(file, encoding="utf-8") as source:
            models[name] = fuzz.small_vocabulary(json.load(source)["model"], 600)
    entries = []
    while len(entries) < COUNT:
        name = rng.choice(list(models))
        entry = make_entry(rng, name, models[name])
        if entry and not is_ambiguous(entry):
            entries.append(entry)
    with tarfile.open(ROOT / "tests/data/tokenizers/composed.tar.xz", "w:xz", preset=9) as archive:
        for file, content in (("models.json", models), ("cases.json", entries)):
            data = json.dumps(content, ensure_ascii=False).encode()
            info = tarfile.TarInfo(f"composed/{file}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    main()
