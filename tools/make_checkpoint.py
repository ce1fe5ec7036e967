#!/usr/bin/env python3
"""Makes a small random checkpoint of any family with exact references, or checks the references of one.

    make_checkpoint.py OUT --family llama --layers 80 --heads 64 --kv-heads 8 ...
    make_checkpoint.py OUT --family falcon --config '{"alibi": true, "parallel_attn": false, "multi_query": false}'
    make_checkpoint.py --verify DIRECTORY

--config adds keys to config.json; whatever they change is in the references, which reference.json holds: of a random
text in dense, window and sink mode the negative log-likelihoods, the last logits, and greedy tokens. Needs numpy.
"""
import argparse
import json
import pathlib
import sys

import numpy as np

from checkpoints.families import FAMILIES, read_model
from checkpoints.reference import compare, make_reference
from checkpoints.storage import byte_tokenizer, read_checkpoint, write_checkpoint
from checkpoints.weights import random_weights

NLL_TOLERANCE = 2e-3
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=pathlib.Path, help="directory of the new checkpoint")
    parser.add_argument("--verify", type=pathlib.Path, metavar="DIRECTORY", help="recompute its reference.json and compare")
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--config", type=json.loads, default={}, metavar="JSON", help="more keys for config.json")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, help="default: as many as heads")
    parser.add_argument("--head-dim", type=int, help="Llama and Mistral; default: hidden / heads")
    parser.add_argument("--intermediate", type=int, default=176, help="inner width of the MLP (default: %(default)s)")
    parser.add_argument("--vocab", type=int, default=256)
    parser.add_argument("--context", type=int, default=512, help="trained context, as config.json says it")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--shards", type=int, default=1, help="number of safetensors files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", action="store_true", help="also write a byte-level tokenizer.json")
    parser.add_argument("--tokens", type=int, default=200, help="length of the scored text; 0: no references")
    parser.add_argument("--greedy", type=int, default=40, help="greedy tokens of each mode")
    parser.add_argument("--sinks", type=int, default=4)
    parser.add_argument("--window", type=int, default=28)
    args = parser.parse_args()
    if (args.output is None) == (args.verify is None):
        parser.error("give an output directory or --verify")
    args.kv_heads = args.kv_heads or args.heads
    args.head_dim = args.head_dim or args.hidden // args.heads
    if args.heads % args.kv_heads:
        parser.error("--kv-heads must divide --heads")
    if args.tokenizer and args.vocab != 256:
        parser.error("--tokenizer needs --vocab 256")
    return args


def merge(config, changes):
    """Changes of nested objects too."""
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(config.get(key), dict)
        config[key] = merge(config[key], value) if nested else value
    return config


def make_config(args):
    common = {
        "bos_token_id": None,
        "dtype": DTYPES[args.dtype],
        "eos_token_id": None,
        "tie_word_embeddings": False,
        "vocab_size": args.vocab,
    }
    return merge(FAMILIES[args.family][0](args) | common, args.config)


def verify(directory):
    config, tensors = read_checkpoint(directory)
    reference = json.loads((directory / "reference.json").read_text())
    wrong = False
    for name, nll, logits, same in compare(read_model(config), tensors, reference):
        print(f"{name}: NLL within {nll:.1e}, last logits within {logits:.1e}, greedy tokens {'equal' if same else 'DIFFER'}")
        wrong = wrong or not same or not nll <= NLL_TOLERANCE
    sys.exit(1 if wrong else 0)


def main():
    args = parse_arguments()
    if args.verify:
        verify(args.verify)
    config = make_config(args)
    write_checkpoint(args.output, config, random_weights(read_model(config), args.seed), args.dtype, args.shards)
    if args.tokenizer:
        (args.output / "tokenizer.json").write_text(json.dumps(byte_tokenizer(), indent=1, ensure_ascii=False))
    if args.tokens:
        config, tensors = read_checkpoint(args.output)  # the weights as stored, rounded
        tokens = np.random.default_rng(args.seed + 1).integers(args.vocab, size=args.tokens).tolist()
        reference, margin = make_reference(read_model(config), tensors, tokens, args.sinks, args.window, args.greedy)
        (args.output / "reference.json").write_text(json.dumps(reference) + "\n")
        print(f"{args.output}: the closest greedy choice was decided by {margin:.1e}")


if __name__ == "__main__":
    main()
