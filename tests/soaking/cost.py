"""tests/soak cost: what keeping sessions on disk costs in throughput: journal and snapshots, at the settings as they are.

Sessions stream turns, all at once, on a group with sessions.directory and on one without, in turn. What counts is the median
of the rounds' ratios: a machine that slows down for others meanwhile does so for both ways of a round.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts.group import Group  # noqa: E402
from soaking import texts  # noqa: E402
from soaking.kept_sessions import add_group_arguments, group_options, metric  # noqa: E402
from soaking.killed import Client  # noqa: E402



def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak cost", description="Compares throughput with sessions on disk and without.")
    parser.add_argument("--sessions", type=int, default=8, help="that stream at once (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="of each session (default: %(default)s)")
    parser.add_argument("--read", type=int, default=100, help="tokens that a turn reads (default: %(default)s)")
    parser.add_argument("--told", type=int, default=200, help="tokens that it answers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of each way, in turn (default: %(default)s)")
    parser.add_argument("--bound", type=float, default=0.02, help="of throughput that it may cost (default: %(default)s)")
    add_group_arguments(parser, ranks=1, output="soak-cost")
    return parser.parse_args()


class Soak:
    def __init__(self, arguments):
        self.args = arguments

    def run(self):
        rows = {"memory": [], "disk": []}
        for number in range(self.args.rounds):
            for how in (rows if number % 2 == 0 else reversed(rows)):
                rows[how].append(self.measure(how))
                print(f"{how}: {rows[how][-1]}", file=sys.stderr)
        speeds = {how: statistics.median(row["tokens_per_second"] for row in of_way) for how, of_way in rows.items()}
        ratios = [disk["tokens_per_second"] / memory["tokens_per_second"] for disk, memory in zip(rows["disk"], rows["memory"])]
        cost = 1 - statistics.median(ratios)
        saved = statistics.median(row["snapshots"] for row in rows["disk"])
        print(f"in memory {speeds['memory']:.0f} tokens/s, on disk {speeds['disk']:.0f}; rounds' ratios "
              f"{min(ratios):.3f} to {max(ratios):.3f}, median {1 - cost:.3f}; {saved:.0f} snapshots a run")
        print(json.dumps({"held": cost <= self.args.bound, "cost": cost, "rows": rows}))
        return 0 if cost <= self.args.bound else 1

    def measure(self, how):
        directory = self.args.output / "sessions"
        shutil.rmtree(self.args.output, ignore_errors=True)
        self.args.output.mkdir(parents=True)
        on_disk = [f"sessions.directory={directory}"] if how == "disk" else []
        options = group_options(self.args.config, *on_disk, *self.args.set)
        with Group(self.args.ranks, options, self.args.output / "group.log", None) as group:
            prompts = texts.prompts(group.url, self.args.sessions, self.args.turns * self.args.read)
            client = Client(group.url)
            ids = [client.ask("POST", "/v1/sessions", {})["id"] for _ in prompts]
            begin = time.monotonic()
            with ThreadPoolExecutor(self.args.sessions) as threads:
                list(threads.map(self.stream, [group.url] * len(ids), ids, prompts))
            seconds = time.monotonic() - begin
            tokens = self.args.sessions * self.args.turns * (self.args.read + self.args.told)
            return {"tokens_per_second": tokens / seconds, "snapshots": metric(group.url, "snapshots_saved_total")}

    def stream(self, url, session, prompt):
        client = Client(url)
        for turn in range(self.args.turns):
            new = prompt[turn * self.args.read:(turn + 1) * self.args.read]
            client.stream({"session": session, "prompt": new, "max_tokens": self.args.told, "temperature": 0, "ignore_eos": True,
                           "return_token_ids": True}, [])


if __name__ == "__main__":
    sys.exit(Soak(parse_arguments()).run())
