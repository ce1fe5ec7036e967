"""tests/soak kept: many more sessions that clients keep than there are slots, each gone on with at random.

random         clients take turns in random sessions, append to them and roll them back, while sessions leave their slots to
               others and come back; memory is sampled
uninterrupted  each session's requests once more, in a session that never leaves its slot: the same tokens, bit for bit
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts.group import Group  # noqa: E402
from processes import resident_bytes  # noqa: E402
from soaking import checks, texts  # noqa: E402
from soaking.kept_sessions import add_group_arguments, group_options, metric, random_prompt, random_turn  # noqa: E402

PATIENCE_SECONDS = 300  # of one request
MOST_READ, MOST_ANSWERED = 60, 24  # tokens of a turn
KEPT_FOR_RETRIES = 2**22  # bytes: soon full, so that memory is flat


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak kept", description="Soaks sessions that clients keep.")
    parser.add_argument("--sessions", type=int, default=1000, help="that are kept (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--clients", type=int, default=32, help="requests at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="of random requests (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=0, help="at least so many, however long they take (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261126, help="(default: %(default)s)")
    parser.add_argument("--memory-growth", type=float, default=0.05, help="tolerated (default: %(default)s)")
    add_group_arguments(parser, ranks=2, output="soak-kept")
    return parser.parse_args()


class Client:
    """One connection, kept open."""

    def __init__(self, url):
        self._url = urllib.parse.urlsplit(url)
        self._connection = None

    def ask(self, method, path, body=None):
        """The answer's JSON; waits where the server asks for it, and fails with what else it says."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=PATIENCE_SECONDS)
            self._connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = json.loads(response.read())
            if response.status == 429 and time.monotonic() < deadline:
                time.sleep(float(response.headers["Retry-After"]))
                continue
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {response.status} {answer}")
            return answer


@dataclass
class Kept:
    """A session with what it must hold, and all that was asked of it."""

    id: str = ""
    tokens: list = field(default_factory=list)
    asked: list = field(default_factory=list)  # (kind, body, answer's tokens)

    def apply(self, client, kind, body):
        """Does one request; the session's tokens afterwards are known from what was sent and answered."""
        if kind == "turn":
            said = client.ask("POST", "/v1/completions", {**body, "session": self.id, "expected_seen": len(self.tokens)})
            answer = said["choices"][0]["token_ids"]
            self.tokens += body["prompt"] + answer
            return answer
        if kind == "append":
            client.ask("POST", f"/v1/sessions/{self.id}/append", {**body, "expected_seen": len(self.tokens)})
            self.tokens += body["prompt"]
        else:
            client.ask("POST", f"/v1/sessions/{self.id}/rollback", body)
            del self.tokens[body["to"]:]
        return []


def next_request(chance, novels, kept):
    """Kind and body of something that can be asked of the session."""
    prompt = random_prompt(chance, novels, MOST_READ)
    kind = chance.choices(["turn", "append", "rollback"], [18, 1, 1])[0]
    last_turn = kept.asked[-1] if kept.asked else None
    if kind == "rollback" and last_turn and last_turn[0] == "turn":  # to regenerate: the turn's answer is within the slack
        return kind, {"to": len(kept.tokens) - chance.randint(1, len(last_turn[2]))}
    if kind == "append":
        return kind, {"prompt": prompt}
    return "turn", random_turn(chance, prompt, MOST_ANSWERED)


class Memory(threading.Thread):
    def __init__(self, ranks):
        super().__init__(daemon=True)
        self._ranks = ranks
        self.rows = []
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(1):
            self.rows.append([resident_bytes(pid) for pid in self._ranks])

    def stop(self):
        self._ended.set()
        self.join()


class Soak:
    def __init__(self, arguments):
        self.args = arguments
        self.all = [Kept() for _ in range(arguments.sessions)]
        self.failures = []
        self.memory = []
        self.ends = []
        self.parks = self.restores = 0

    def group(self):
        options = group_options(self.args.config, f"cache.slots={self.args.slots}", f"sessions.max_sessions={self.args.sessions}",
                                f"sessions.replay_bytes={KEPT_FOR_RETRIES}", *self.args.set)
        self.args.output.mkdir(parents=True, exist_ok=True)
        return Group(self.args.ranks, options, self.args.output / "group.log", None)

    def run(self):
        with self.group() as group:
            self.at_random(group)
            self.parks, self.restores = metric(group.url, "session_parks_total"), metric(group.url, "session_restores_total")
            self.look_again(group.url)
            self.ends.append(group.end())
        with self.group() as group:
            same = self.uninterrupted(group.url)
            self.ends.append(group.end())
        return self.show(same)

    def at_random(self, group):
        novels = texts.novel_tokens(group.url)
        with ThreadPoolExecutor(self.args.clients) as clients:
            list(clients.map(lambda kept: self.open(group.url, kept), self.all))
        memory = Memory(group.ranks)
        memory.start()
        free = list(range(len(self.all)))
        asked = 0
        lock = threading.Lock()
        end = time.monotonic() + self.args.seconds

        def take_turns(number):
            nonlocal asked
            chance, client = random.Random(self.args.seed + number), Client(group.url)
            while (time.monotonic() < end or asked < self.args.requests) and not self.failures:
                with lock:
                    asked += 1
                    which = free.pop(chance.randrange(len(free)))
                kept = self.all[which]
                try:
                    kind, body = next_request(chance, novels, kept)
                    kept.asked.append((kind, body, kept.apply(client, kind, body)))
                except Exception as error:  # whatever it was, the soak tells of it
                    self.failures.append(f"{kept.id}: {type(error).__name__}: {error}")
                with lock:
                    free.append(which)

        with ThreadPoolExecutor(self.args.clients) as clients:
            list(clients.map(take_turns, range(self.args.clients)))
        memory.stop()
        self.memory = memory.rows

    @staticmethod
    def open(url, kept):
        kept.id = Client(url).ask("POST", "/v1/sessions", {})["id"]

    def look_again(self, url):
        """Every session is there, and holds what it must."""
        client = Client(url)
        listed = {session["id"]: session["seen_tokens"] for session in client.ask("GET", "/v1/sessions")["data"]}
        for kept in self.all:
            if listed.get(kept.id) != len(kept.tokens):
                self.failures.append(f"{kept.id}: {listed.get(kept.id)} tokens instead of {len(kept.tokens)}")
            elif client.ask("GET", f"/v1/sessions/{kept.id}/transcript")["tokens"] != kept.tokens:
                self.failures.append(f"{kept.id}: its transcript is another")

    def uninterrupted(self, url):
        """How many requests were answered likewise."""
        def again(kept):
            client, twin = Client(url), Kept()
            self.open(url, twin)
            same = sum(twin.apply(client, kind, body) == answer for kind, body, answer in kept.asked)
            client.ask("DELETE", f"/v1/sessions/{twin.id}")
            return same

        with ThreadPoolExecutor(self.args.slots) as clients:
            return sum(clients.map(again, self.all))

    def show(self, same):
        asked = sum(len(kept.asked) for kept in self.all)
        tokens = sum(len(kept.tokens) for kept in self.all)
        warm = self.memory[len(self.memory) // 2:]  # by then sessions have filled their windows
        grown = max(checks.growth([row[rank] for row in warm]) for rank in range(self.args.ranks)) if len(warm) > 1 else float("nan")
        verdicts = [
            checks.Verdict("none lost, none mixed up", not self.failures,
                           f"{len(self.all)} sessions on {self.args.slots} slots hold {tokens:,} tokens" +
                           "".join(f"; {failure}" for failure in self.failures[:3])),
            checks.Verdict("as uninterrupted", same == asked and asked > 0, f"{same:,} of {asked:,} requests, bit for bit"),
            checks.Verdict("sessions came and went", self.parks > 0 and self.restores > 0,
                           f"{self.parks:,.0f} times parked, {self.restores:,.0f} times brought back"),
            checks.Verdict("flat memory", grown <= self.args.memory_growth, f"{grown:+.2%} in the rank that grew most; "
                           f"{sum(max(row[rank] for row in warm) for rank in range(self.args.ranks)) / 2**20:.0f} MiB in all"),
            *(checks.ended_well(end) for end in self.ends)]
        for verdict in verdicts:
            print(verdict)
        summary = {"held": all(verdict.held for verdict in verdicts), "sessions": len(self.all), "slots": self.args.slots,
                   "seconds": self.args.seconds, "requests": asked, "tokens": tokens, "parks": self.parks, "restores": self.restores}
        print(json.dumps(summary))
        return 0 if summary["held"] else 1


if __name__ == "__main__":
    sys.exit(Soak(parse_arguments()).run())
