"""tests/soak: see there. The phases, each on a group of its own but `alone`, which goes on with `together`'s:

faults    each fault in turn, in the middle of the streams; what is left is counted and a new group started
together  all sessions at once: memory, step time, losses, answers
alone     each session by itself: the same losses and text, bit for bit
one rank  what the sessions read, on one rank of one host: the same losses but for rounding
"""

import argparse
import datetime
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts import network  # noqa: E402
from hosts.group import FAULTS, Group  # noqa: E402
from soaking import checks, texts  # noqa: E402
from soaking.page import plots, write_page  # noqa: E402
from soaking.progress import Progress, Record  # noqa: E402
from soaking.sampling import Sampler  # noqa: E402
from soaking.streams import Session  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
BOUND_BEYOND_STUCK = 5  # seconds: the promise of docs/operations.md
ENDLESS = 10**9  # tokens of an answer that only a fault ends, however fast the machine is


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak", description="Soaks a worker group for very many tokens.")
    parser.add_argument("--hosts", type=int, default=1, help="network namespaces as hosts; 1: this host (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="ranks in all, spread over the hosts (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=4, help="sessions at once (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=20_000, help="tokens each session reads (default: %(default)s)")
    parser.add_argument("--answer", type=int, default=200, help="tokens each answers greedily (default: %(default)s)")
    parser.add_argument("--faults", choices=["on", "off"], default="off", help="inject each fault first (default: %(default)s)")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs/demo.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="a setting of the group")
    parser.add_argument("--stuck-seconds", type=float, default=10, help="parallel.stuck_seconds (default: %(default)s)")
    parser.add_argument("--sample-seconds", type=float, default=1, help="between samples (default: %(default)s)")
    parser.add_argument("--memory-growth", type=float, default=0.05, help="tolerated (default: %(default)s)")
    parser.add_argument("--step-growth", type=float, default=0.25, help="tolerated (default: %(default)s)")
    parser.add_argument("--loss-difference", type=float, default=0.01, help="nats a token (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=PROJECT / "build/soak", help="directory (default: build/soak)")
    arguments = parser.parse_args()
    if not arguments.hosts <= arguments.ranks:
        parser.error("--ranks must be at least --hosts: each host holds a rank")
    return arguments


class Soak:
    def __init__(self, arguments):
        self.args = arguments
        self.settings = {name: getattr(arguments, name) for name in
                         ("hosts", "ranks", "sessions", "tokens", "answer", "faults", "set", "stuck_seconds")}
        self.settings["config"] = str(arguments.config)
        arguments.output.mkdir(parents=True, exist_ok=True)
        self.record = Record(arguments.output / "record.jsonl", self.settings)
        self.block = max(64, -(-arguments.tokens // 200))
        self.network = None  # the hosts, while there are any
        self._prompts = None
        passes = 2 if arguments.sessions == 1 else 3  # one session is alone anyway
        self.progress = Progress(arguments.sessions * (passes * arguments.tokens + (passes - 1) * arguments.answer))

    def group(self, hosts, ranks):
        options = ["--config", self.args.config]
        for setting in (f"parallel.stuck_seconds={self.args.stuck_seconds}", f"cache.slots={self.args.sessions}",
                        *self.args.set):
            options += ["--set", setting]
        return Group(ranks, options, self.args.output / "group.log", self.network if hosts > 1 else None)

    def sessions(self, url, numbers, answer):
        if self._prompts is None:
            self._prompts = texts.prompts(url, self.args.sessions, self.args.tokens)
        started = [Session(url, number, self._prompts[number], answer, self.block) for number in numbers]
        for session in started:
            session.start()
        return started

    def finish(self, phase, sessions):
        """Waits for all and yields each one's result as it ends; a failure ends the soak."""
        waiting = list(sessions)
        while waiting:
            time.sleep(0.05)
            for session in [session for session in waiting if not session.is_alive()]:
                waiting.remove(session)
                if session.failure:
                    sys.exit(f"tests/soak: {phase}, {session.name}: {session.failure}; see {self.args.output}/group.log")
                self.progress.done += session.tokens
                yield session.result
            self.progress.tell(phase, sum(session.tokens for session in waiting))

    def numbers_left(self, phase, tokens_each):
        done = {result["session"] for result in self.record.of(phase)}
        self.progress.skip(len(done) * tokens_each)
        return [number for number in range(self.args.sessions) if number not in done]

    # ---- phases

    def run(self):
        if self.args.faults == "on":
            self.faults()
        self.together_and_alone()
        self.one_rank()
        print()
        return self.show()

    def faults(self):
        done = [end["what"] for end in self.record.of("faults")]
        chance = random.Random(20261125)
        for fault in FAULTS if self.network else [fault for fault in FAULTS if not fault.needs_hosts]:
            if fault.name in done:
                continue
            with self.group(self.args.hosts, self.args.ranks) as group:
                sessions = self.sessions(group.url, range(self.args.sessions), ENDLESS)
                wanted = chance.uniform(0.02, 0.1) * self.args.sessions * self.args.tokens
                while sum(session.tokens for session in sessions) < wanted and all(session.is_alive() for session in sessions):
                    time.sleep(0.05)
                end = group.suffer(fault)
                for session in sessions:
                    session.join(60)
                end |= {"streams": len(sessions), "told": sum(bool(session.failure) for session in sessions)}
            self.record.add("faults", end)
            print(checks.ended_by_fault(end, self.bound), flush=True)

    def together_and_alone(self):
        each = self.args.tokens + self.args.answer
        left_alone = self.numbers_left("alone", each) if self.args.sessions > 1 else []
        if self.record.of("together"):
            self.progress.skip(self.args.sessions * each)
            if not left_alone:
                return
        with self.group(self.args.hosts, self.args.ranks) as group:
            if not self.record.of("together"):
                sessions = self.sessions(group.url, range(self.args.sessions), self.args.answer)
                sampler = Sampler(group.url, group.ranks, sessions, self.args.tokens, self.args.output / "samples.csv",
                                  self.args.sample_seconds)
                sampler.start()
                results = list(self.finish("together", sessions))
                sampler.stop()
                self.record.add("together", {"results": results, "samples": sampler.rows})
            for number in left_alone:
                for result in self.finish("alone", self.sessions(group.url, [number], self.args.answer)):
                    self.record.add("alone", result)
            self.record.add("ends", group.end())

    def one_rank(self):
        left = self.numbers_left("one rank", self.args.tokens)
        if not left:
            return
        with self.group(1, 1) as group:
            for result in self.finish("one rank", self.sessions(group.url, left, 0)):
                self.record.add("one rank", result)
            self.record.add("ends", group.end())

    # ---- what they showed

    @property
    def bound(self):
        return self.args.stuck_seconds + BOUND_BEYOND_STUCK

    def verdicts(self, rows, together, one_rank):
        args = self.args
        capacity = together[0]["usage"]["resident_tokens"]
        warm = args.sessions * min(2 * capacity, args.tokens // 10)
        found = [checks.constant_memory(rows, args.ranks, warm, args.memory_growth),
                 checks.flat_steps(rows, warm, args.step_growth),
                 checks.honest_usage(together, args.tokens + args.answer - 1, capacity),
                 checks.equal_losses(together, one_rank, self.block, args.tokens, args.loss_difference)]
        if args.sessions > 1:
            found.append(checks.equal_answers(together, self.record.of("alone")))
        found += [checks.ended_by_fault(end, self.bound) for end in self.record.of("faults")]
        found += [checks.ended_well(end) for end in self.record.of("ends")]
        return found

    def show(self):
        together, rows = (self.record.of("together")[0][part] for part in ("results", "samples"))
        together, one_rank = in_order(together), in_order(self.record.of("one rank"))
        verdicts = self.verdicts(rows, together, one_rank)
        summary = self.settings | {
            "held": all(verdict.held for verdict in verdicts),
            "date": datetime.date.today().isoformat(), "machine": machine(),
            "seconds": max((row["seconds"] for row in rows), default=0),
            "tokens_a_second": round(rows[-1]["tokens"] / rows[-1]["seconds"]) if rows else 0,
            "verdicts": {verdict.name: verdict.figure for verdict in verdicts}}
        page = self.args.output / "soak.html"
        write_page(page, summary, verdicts, plots(rows, together, one_rank, self.block, self.args.tokens, self.args.ranks))
        for verdict in verdicts:
            print(verdict)
        print(f"{page}\n{json.dumps(summary)}")
        return 0 if summary["held"] else 1


def in_order(results):
    return sorted(results, key=lambda result: result["session"])


def machine():
    cpu = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{len(os.sched_getaffinity(0))} CPUs of {cpu}, {platform.system()} {platform.machine()}"


def main():
    soak = Soak(parse_arguments())
    if soak.args.hosts == 1:
        return soak.run()
    if why := network.missing():
        sys.exit(f"tests/soak: {why}; --hosts 1 needs none")
    with network.Network(soak.args.hosts, soak.args.output) as soak.network:
        return soak.run()


if __name__ == "__main__":
    sys.exit(main())
