#!/usr/bin/env python3
"""Compares a checkpoint's dense references (reference.json) with what the transformers library computes from it.

    compare_with_transformers.py DIRECTORY...

Says for each the largest differences of negative log-likelihood and of the last logits. Needs numpy, torch and
transformers, which nothing else here does.
"""
import json
import pathlib
import sys

import torch
import transformers

TOLERANCE = 2e-3


def differences(directory):
    reference = json.loads((directory / "reference.json").read_text())
    tokens = torch.tensor([reference["input_ids"][: reference["dense"]["tokens"]]])
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        logits = model(tokens).logits[0].double()
    losses = torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:], reduction="none")
    nll = (losses - torch.tensor(reference["dense"]["nll"])).abs().max().item()
    return nll, (logits[-1] - torch.tensor(reference["dense"]["last_logits"])).abs().max().item()


def main():
    transformers.logging.set_verbosity_error()
    failed = False
    for directory in map(pathlib.Path, sys.argv[1:]):
        nll, last = differences(directory)
        print(f"{directory.name}: NLL within {nll:.1e}, last logits within {last:.1e}")
        failed = failed or not nll <= TOLERANCE
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
