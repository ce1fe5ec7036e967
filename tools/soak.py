#!/usr/bin/env python3
"""Streams very many tokens from a running server and records whether time per token and memory stay flat.

Writes a CSV row for each block of tokens: tokens so far, seconds so far, seconds per token of the block, and each rank's
resident memory. Fails when memory in the last tenth of the stream is more than --limit above that in the first.
Needs nothing but Python.
"""

import argparse
import csv
import http.client
import json
import os
import statistics
import sys
import time
import urllib.parse
from pathlib import Path


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=200_000, help="how many to generate (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1000, help="tokens a row (default: %(default)s)")
    parser.add_argument("--csv", type=Path, required=True, help="where the rows go")
    parser.add_argument("--pids", type=int, nargs="+", help="the ranks' processes (default: all named stream-worker)")
    parser.add_argument("--limit", type=float, default=0.05, help="tolerated growth of memory (default: %(default)s)")
    parser.add_argument("--prompt", default="It was a dark night, and", help="how the text begins")
    arguments = parser.parse_args()
    if arguments.tokens < 3 * arguments.every:
        parser.error("--tokens must be at least three times --every")
    return arguments


def find_ranks():
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "comm").read_text().strip() == "stream-worker":
                found.append(int(directory.name))
        except OSError:
            continue  # it has ended meanwhile
    return sorted(found)


def resident_bytes(pid):
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE")


def open_stream(url, prompt, num_tokens):
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=60)
    body = {"prompt": prompt, "max_tokens": num_tokens, "stream": True, "ignore_eos": True, "return_token_ids": True}
    headers = {"Content-Type": "application/json"}
    if "API_KEY" in os.environ:
        headers["Authorization"] = "Bearer " + os.environ["API_KEY"]
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"the server answered {response.status}: {response.read().decode(errors='replace')}")
    return response


def generated_tokens(response):
    """The number of tokens in each event."""
    for line in response:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            sys.exit("the stream failed: " + event["error"]["message"])
        yield sum(len(choice.get("token_ids") or []) for choice in event["choices"])
    sys.exit("the stream broke off")


def record_blocks(arguments, pids, write_row):
    """One dict a block; the first one also carries the wait for the first token."""
    rows = []
    tokens = 0
    start = block_start = time.monotonic()
    for count in generated_tokens(open_stream(arguments.url, arguments.prompt, arguments.tokens)):
        for tokens in range(tokens + 1, tokens + count + 1):
            if tokens % arguments.every:
                continue
            now = time.monotonic()
            row = {"tokens": tokens, "seconds": round(now - start, 3),
                   "seconds_per_token": round((now - block_start) / arguments.every, 7)}
            row |= {f"rss_bytes_rank{rank}": resident_bytes(pid) for rank, pid in enumerate(pids)}
            block_start = now
            rows.append(row)
            write_row(row)
    if tokens != arguments.tokens:
        sys.exit(f"{tokens} tokens came instead of {arguments.tokens}")
    return rows


def growth(rows, value):
    """How much more at the end than at the start, as a fraction. Medians over a tenth of the stream each; the first
    block warms up."""
    tenth = max(1, len(rows) // 10)
    early = statistics.median(map(value, rows[1:1 + tenth]))
    late = statistics.median(map(value, rows[-tenth:]))
    return late / early - 1


def main():
    arguments = parse_arguments()
    pids = arguments.pids or find_ranks()
    if not pids:
        sys.exit("no process named stream-worker runs here; name the ranks with --pids")
    names = ["tokens", "seconds", "seconds_per_token", *(f"rss_bytes_rank{rank}" for rank in range(len(pids)))]
    with arguments.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()

        def write_row(row):
            writer.writerow(row)
            file.flush()
            if sys.stdout.isatty():
                print(f"\r{row['tokens']:,} tokens, {1 / row['seconds_per_token']:.0f} a second ", end="", flush=True)

        rows = record_blocks(arguments, pids, write_row)

    slower = growth(rows, lambda row: row["seconds_per_token"])
    larger = growth(rows, lambda row: sum(row[name] for name in names[3:]))
    memory = sum(rows[-1][name] for name in names[3:]) / 2**20
    print(f"\n{arguments.tokens:,} tokens in {rows[-1]['seconds']:.0f} s; {memory:.1f} MiB in {len(pids)} ranks")
    print(f"from the first tenth to the last: time per token {slower:+.1%}, memory {larger:+.1%}")
    if larger > arguments.limit:
        print(f"memory grew by more than {arguments.limit:.0%}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
