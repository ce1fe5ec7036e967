#!/usr/bin/env python3
"""What a turn costs in sessions of several lengths, which are kept on disk.

  session_turn_cost.py [--lengths 1000,100000,1000000] [--rounds 6] [--turns 5] [--tokens 100] [SETTING...]

Starts a worker of one rank with the demo model, lets sessions grow by appends, then has some turns in each, in rounds: half of
a turn's tokens are a prompt, half are generated. Of a turn it says the time, the processor's time of the whole process, and the
bytes that the process wrote (`wchar` of /proc/PID/io: what it hands to the file system, sockets included), what reached the
disk after the turn among them: medians of the rounds. It reads nothing but HTTP and /proc; other work on the machine shows in
the time, and hardly in the rest.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parents[1]
WORKER = pathlib.Path(os.environ.get("STREAM_WORKER", ROOT / "build/release/worker/stream-worker"))
APPENDED = 50_000  # tokens at once
SYNC_SECONDS = 1  # as by default


def start(directory, log, settings):
    command = [WORKER, "--config", ROOT / "configs/demo.yaml"]
    for setting in ["server.listen=127.0.0.1:0", f"sessions.directory={directory}", *settings]:
        command += ["--set", setting]
    worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    while worker.poll() is None:
        found = re.search(r"listening on (http://\S+)", pathlib.Path(log.name).read_text())
        if found:
            return worker, found.group(1)
        time.sleep(0.1)
    sys.exit(pathlib.Path(log.name).read_text())


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return json.load(answer)


def tokens_from(position, count):
    return [5 + (position + i) * 7919 % 4000 for i in range(count)]


def grow(url, session, length):
    for position in range(0, length, APPENDED):
        post(url, f"/v1/sessions/{session}/append", {"prompt": tokens_from(position, min(APPENDED, length - position))})


def counters(pid):
    """The processor's seconds, and the bytes written."""
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    written = re.search(r"wchar: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text()).group(1)
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), int(written)


def measure(url, pid, session, turns, tokens):
    """Of one turn, on average."""
    body = {"session": session, "prompt": tokens_from(0, tokens // 2), "max_tokens": tokens - tokens // 2, "ignore_eos": True,
            "temperature": 0}
    before, began = counters(pid), time.monotonic()
    for _ in range(turns):
        post(url, "/v1/completions", body)
    seconds = time.monotonic() - began
    time.sleep(SYNC_SECONDS + 0.5)
    after = counters(pid)
    return [value / turns for value in (seconds, after[0] - before[0], after[1] - before[1])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="1000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--turns", type=int, default=5, help="in each session, in each round")
    parser.add_argument("--tokens", type=int, default=100, help="of a turn")
    parser.add_argument("settings", nargs="*", help="as stream-worker's --set")
    options = parser.parse_args()
    lengths = [int(length) for length in options.lengths.split(",")]
    with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile("w+") as log:
        worker, url = start(directory, log, [f"sessions.sync_seconds={SYNC_SECONDS}", *options.settings])
        try:
            sessions = {length: post(url, "/v1/sessions", {})["id"] for length in lengths}
            for length, session in sessions.items():
                began = time.monotonic()
                grow(url, session, length)
                print(f"{length} tokens in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            costs = {length: [] for length in lengths}
            for _ in range(1 + options.rounds):
                for length, session in sessions.items():
                    costs[length].append(measure(url, worker.pid, session, options.turns, options.tokens))
        finally:
            worker.terminate()
            worker.wait()
    print("| tokens before | a turn | of the processor | written |\n|---|---|---|---|")
    for length, (_, *rounds) in costs.items():  # the first warms up
        seconds, processor, written = (statistics.median(values) for values in zip(*rounds))
        print(f"| {length:,} | {1000 * seconds:.0f} ms | {1000 * processor:.0f} ms | {written / 1024:.1f} KiB |")


if __name__ == "__main__":
    main()
