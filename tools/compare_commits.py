#!/usr/bin/env python3
"""Builds a commit beside this tree and compares what both compute, bit for bit, and how fast they are.

    compare_commits.py                                  # the default commit with the files as they are here
    compare_commits.py HEAD --only bits                 # what is not committed yet
    compare_commits.py BEFORE AFTER --only speed        # two commits, or directories with other sources
    compare_commits.py --deliberate 'mpt/*=biases are added in another order, which is exact'

Bits: log-probabilities, losses, greedy and seeded tokens of every golden checkpoint, in each cache mode, on 1 to 4 ranks,
with weights and cache in f32 and bf16. Cases are named CHECKPOINT/MODE/RANKS/WEIGHTS. Speed: a 1.1B Llama of random
weights on one rank of two threads and on two ranks; wants a quiet machine, 6 GB of memory and 3 GB of disk.

Everything is in build/compare. Exit code: 0 when equal and as fast, 1 when not, 2 when nothing could be compared.
"""

import argparse
import fnmatch
import sys

from comparison.bits import all_cases, compare_bits
from comparison.speed import compare_speed
from comparison.trees import PROJECT, Failed, Tree, build, find_tree

BASE = "46f3af1"  # the last one in which the CPU was the only backend


def deliberate_change(text):
    pattern, separator, reason = text.partition("=")
    if not (pattern and separator and reason.strip()):
        raise argparse.ArgumentTypeError(f"'{text}': give CASES=REASON")
    return pattern, reason.strip()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", default=BASE, help="a commit or a directory (default: %(default)s)")
    parser.add_argument("after", nargs="?", help="a commit or a directory (default: this tree)")
    parser.add_argument("--only", choices=("bits", "speed"))
    parser.add_argument("--cases", default="*", metavar="PATTERN", help="only these cases, e.g. 'llama-gqa/*/2/f32'")
    parser.add_argument("--deliberate", action="append", default=[], type=deliberate_change, metavar="CASES=REASON",
                        help="cases whose bits may differ, and why")
    parser.add_argument("--runs", type=int, default=5, help="of each tree, for speed (default: %(default)s)")
    parser.add_argument("--least-ratio", type=float, default=0.98, help="after / before (default: %(default)s)")
    return parser.parse_args()


def main():
    args = parse_arguments()
    cases = [case for case in all_cases() if fnmatch.fnmatchcase(str(case), args.cases)]
    if not cases:
        raise Failed(f"no case is named {args.cases}")
    before = find_tree(args.before)
    after = find_tree(args.after) if args.after else Tree("this tree", PROJECT)
    workers = [build(tree) for tree in (before, after)]
    fine = True
    if args.only != "speed":
        fine = compare_bits(*workers, cases, dict(args.deliberate))
    if args.only != "bits":
        fine = compare_speed(*workers, args.runs, args.least_ratio) and fine
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        print(f"compare_commits.py: {failure}", file=sys.stderr)
        sys.exit(2)
