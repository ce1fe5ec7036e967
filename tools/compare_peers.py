#!/usr/bin/env python3
"""Installs llama.cpp and oneDNN beside this tree and times what they do and what this does, in turn.

    compare_peers.py                      # two threads: a table for each of bf16, int8 and int4
    compare_peers.py --threads 1 --weights int8

A Llama of 1.1 billion random weights: a prompt taken in at once, and decoding behind it by one stream and by 16. Beside
each stands its share of what memory or arithmetic gives, as stream-bench measured it in the same minute. oneDNN multiplies
in float32 alone, as a library's limit. Wants a quiet machine, 6 GB of memory and 5 GB of disk in build/peers; the first run
compiles llama.cpp (PyPI's llama-cpp-python), and needs Debian's libdnnl-dev.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from comparison.trees import PROJECT, Failed
from peers.environment import gguf_model, install, run, time_llama_cpp, time_onednn

KINDS = {"bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
STREAMS, STEPS = (1, 16), 4


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=lambda text: text.split(","), default=list(KINDS), metavar="LIST",
                        help="of bf16, int8 and int4 (default: all)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn (default: %(default)s)")
    return parser.parse_args()


def time_ours(bench, weights, threads, prompt):
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "result.json"
        run([bench, "model", "--shape", "1.1b", "--weights", weights, "--threads", threads, "--streams", ",".join(map(str, STREAMS)),
             "--position", prompt, "--prompt", prompt, "--chunk", prompt, "--steps", STEPS, "--json", file])
        return json.loads(file.read_text())["models"][0]


def percent(value):
    return f"{100 * value:.0f} %"


def table(ours, theirs, prompt):
    """Rows of: what, tokens a second of both, their ratio, the share of its limit that each reaches."""
    read = statistics.median(one["read_bytes_a_second"] for one in ours)
    arithmetic = statistics.median(one["arithmetic_operations_a_second"] for one in ours)
    operations = statistics.median(one["prefill_operations_a_second"] * one["prefill_seconds"] for one in ours) / prompt
    ours_bytes, their_bytes = ours[0]["weight_bytes"], theirs[0]["bytes"]
    for index, streams in enumerate(STREAMS):
        own = statistics.median(streams / one["decode"][index]["step_seconds"] for one in ours)
        peer = statistics.median(one["decode"][str(streams)] for one in theirs)
        name = "decode, 1 stream" if streams == 1 else f"decode, {streams} streams"
        yield name, own, peer, f"memory {percent(own / streams * ours_bytes / read)}, {percent(peer / streams * their_bytes / read)}; " \
            f"arithmetic {percent(own * operations / arithmetic)}, {percent(peer * operations / arithmetic)}"
    own = statistics.median(prompt / one["prefill_seconds"] for one in ours)
    peer = statistics.median(one["prompt"] for one in theirs)
    yield f"prompt of {prompt}", own, peer, f"arithmetic {percent(own * operations / arithmetic)}, {percent(peer * operations / arithmetic)}"


def main():
    args = parse_arguments()
    if unknown := set(args.weights) - set(KINDS):
        raise Failed(f"--weights: {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
    if subprocess.run([PROJECT / "launch/build", "stream-bench"]).returncode:
        raise Failed("stream-bench does not build")
    bench = PROJECT / "build/release/tools/stream-bench"
    install()
    for weights in args.weights:
        gguf_model(KINDS[weights])
        ours, theirs = [], []
        for _ in range(args.runs):
            ours.append(time_ours(bench, weights, args.threads, args.prompt))
            theirs.append(time_llama_cpp(KINDS[weights], args.threads, args.prompt, STREAMS, STEPS))
        limits = ours[0]
        print(f"\n{weights} beside llama.cpp's {KINDS[weights]}, {args.threads} threads, {limits['backend']}; memory gives "
              f"{statistics.median(one['read_bytes_a_second'] for one in ours) / 1e9:.1f} GB/s, {limits['arithmetic']} "
              f"{statistics.median(one['arithmetic_operations_a_second'] for one in ours) / 1e9:.0f} GFLOP/s")
        print("| | tokens/s | llama.cpp | ratio | shares of ours, of theirs |\n|---|---|---|---|---|")
        for name, own, peer, shares in table(ours, theirs, args.prompt):
            print(f"| {name} | {own:.1f} | {peer:.1f} | {own / peer:.2f} | {shares} |", flush=True)
    for rows in (*STREAMS, args.prompt):
        print(f"oneDNN, float32, {rows} x 2048 x 5632: {time_onednn(args.threads, rows, 2048, 5632):.0f} GFLOP/s")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        print(f"compare_peers.py: {failure}", file=sys.stderr)
        sys.exit(2)
