"""tests/soak killed: a group whose sessions are on disk is killed (SIGKILL) over and over, in the middle of their turns.

killed         clients stream turns in sessions of their own; at a random moment the leader, another rank, or every process is
               killed, and the group started anew; each session must have every token that its client was told, and goes on
uninterrupted  each session's requests once more, on a group that nobody kills: the same tokens, bit for bit
"""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts.group import Group  # noqa: E402
from soaking import checks, texts  # noqa: E402
from soaking.kept_sessions import add_group_arguments, group_options, metric, random_prompt, random_turn  # noqa: E402

PATIENCE_SECONDS = 300  # of one request
MOST_READ, MOST_ANSWERED = 60, 120  # tokens of a turn
KILLED = ["the leader", "another rank", "every process"]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak killed", description="Kills a group whose sessions are on disk.")
    parser.add_argument("--kills", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=24, help="(default: %(default)s)")
    parser.add_argument("--slots", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--clients", type=int, default=12, help="requests at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="before a kill, at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261127, help="(default: %(default)s)")
    add_group_arguments(parser, ranks=2, output="soak-killed")
    return parser.parse_args()


class CutOff(Exception):
    """The server went away in the middle of a request."""


class Client:
    def __init__(self, url):
        self._url = urllib.parse.urlsplit(url)

    def _request(self, method, path, body, headers=None):
        try:
            connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=PATIENCE_SECONDS)
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"} | (headers or {}))
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CutOff from error

    def ask(self, method, path, body=None, headers=None):
        """The answer's JSON; waits where the server asks for it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            response = self._request(method, path, body, headers)
            try:
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                raise CutOff from error
            if response.status == 503 or (response.status == 500 and "rank" in str(answer)):
                raise CutOff
            if response.status != 429 or time.monotonic() > deadline:
                if response.status != 200:
                    raise RuntimeError(f"{method} {path}: {response.status} {answer}")
                return answer
            time.sleep(float(response.headers["Retry-After"]))

    def stream(self, body, told):
        """Streams a turn; `told` grows as its tokens come, and is right when this is cut off."""
        while (response := self._request("POST", "/v1/completions", body | {"stream": True})).status == 429:
            response.read()
            time.sleep(float(response.headers["Retry-After"]))
        try:
            if response.status != 200:
                text = response.read().decode()
                if response.status in (500, 503):
                    raise CutOff
                raise RuntimeError(f"turn: {response.status} {text}")
            for line in response:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    if line.startswith(b"data: [DONE]"):
                        return
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise CutOff
                for choice in event.get("choices", []):
                    told += choice.get("token_ids") or []
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise CutOff from error
        raise CutOff


@dataclass
class Kept:
    """A session with what it has, and what came of what was asked of it."""

    id: str = ""
    tokens: list = field(default_factory=list)
    asked: list = field(default_factory=list)  # (body, tokens answered)
    under_way: tuple = None  # (body, tokens told) of a turn that was cut off


class Soak:
    def __init__(self, arguments):
        self.args = arguments
        self.chance = random.Random(arguments.seed)
        self.all = [Kept() for _ in range(arguments.sessions)]
        self.failures = []
        self.kills = {what: 0 for what in KILLED}
        self.cut_off = self.told_and_cut_off = 0
        self.taken_up = 0  # sessions, from snapshots
        self.ends = []

    def group(self, name, *more):
        options = group_options(self.args.config, f"cache.slots={self.args.slots}", f"sessions.max_sessions={self.args.sessions}",
                                *more, *self.args.set)
        self.args.output.mkdir(parents=True, exist_ok=True)
        return Group(self.args.ranks, options, self.args.output / f"{name}.log", None)

    def run(self):
        directory = self.args.output / "sessions"
        shutil.rmtree(directory, ignore_errors=True)
        on_disk = f"sessions.directory={directory}"
        for kill in range(self.args.kills + 1):
            with self.group("killed", on_disk) as group:
                self.look_again(group.url)
                if self.failures:
                    break
                if kill == self.args.kills:
                    self.ends.append(group.end())
                    break
                self.take_turns_until_killed(group)
            if (kill + 1) % 10 == 0:
                print(f"{kill + 1} kills, {sum(len(kept.asked) for kept in self.all)} turns", file=sys.stderr)
        with self.group("uninterrupted") as group:
            same = self.uninterrupted(group.url)
            self.ends.append(group.end())
        return self.show(same)

    # ---- Turns, and their end

    def take_turns_until_killed(self, group):
        novels = texts.novel_tokens(group.url)
        over = threading.Event()
        seeds = [self.chance.randrange(2**31) for _ in range(self.args.clients)]
        free, lock = list(range(len(self.all))), threading.Lock()

        def take_turns(seed):
            chance, client = random.Random(seed), Client(group.url)
            while not over.is_set():
                with lock:
                    kept = self.all[free.pop(chance.randrange(len(free)))]
                try:
                    self.take_turn(client, chance, novels, kept)
                except CutOff:
                    return
                except Exception as error:  # whatever it was, the soak tells of it
                    self.failures.append(f"{kept.id}: {type(error).__name__}: {error}")
                    return
                with lock:
                    free.append(self.all.index(kept))

        threads = [threading.Thread(target=take_turns, args=[seed]) for seed in seeds]
        for thread in threads:
            thread.start()
        time.sleep(self.chance.uniform(0.05, self.args.seconds))
        self.taken_up += metric(group.url, "snapshots_taken_up_total")
        self.kill(group)
        over.set()
        for thread in threads:
            thread.join()

    def take_turn(self, client, chance, novels, kept):
        if not kept.id:
            kept.id = client.ask("POST", "/v1/sessions", {})["id"]
        body = random_turn(chance, random_prompt(chance, novels, MOST_READ), MOST_ANSWERED)
        told = []
        kept.under_way = body, told
        client.stream(body | {"session": kept.id, "expected_seen": len(kept.tokens)}, told)
        kept.under_way = None
        kept.asked.append((body, told))
        kept.tokens += body["prompt"] + told

    def kill(self, group):
        what = self.chance.choice(KILLED)
        self.kills[what] += 1
        if what == "every process":
            group.kill()
            return
        os.kill(group.ranks[0 if what == "the leader" else -1], signal.SIGKILL)
        group.await_end()

    # ---- After a restart

    def look_again(self, url):
        """Every session has what its client was told of it; what it has beyond is what the turn that was cut off went on to say."""
        client = Client(url)
        for kept in self.all:
            if not kept.id:
                continue
            try:
                tokens = client.ask("GET", f"/v1/sessions/{kept.id}/transcript")["tokens"]
            except RuntimeError as error:
                self.failures.append(f"lost: {error}")
                continue
            known, (body, told) = kept.tokens, kept.under_way or ({"prompt": []}, [])
            prompt, kept.under_way = body["prompt"], None
            if tokens == known and not told:
                continue
            expected = known + prompt + told
            self.cut_off += 1
            self.told_and_cut_off += len(told)
            if tokens[:len(expected)] != expected:
                self.failures.append(f"{kept.id}: has {len(tokens)} tokens, and should begin with {len(expected)} others")
                continue
            kept.asked.append((body, tokens[len(known) + len(prompt):]))
            kept.tokens = tokens

    def uninterrupted(self, url):
        """How many turns said likewise."""
        def again(kept):
            client, same = Client(url), 0
            twin = client.ask("POST", "/v1/sessions", {})["id"]
            for body, answer in kept.asked:
                if answer:
                    said = client.ask("POST", "/v1/completions", body | {"session": twin, "max_tokens": len(answer)})
                    same += said["choices"][0]["token_ids"] == answer
                else:
                    client.ask("POST", f"/v1/sessions/{twin}/append", {"prompt": body["prompt"]})
                    same += 1
            client.ask("DELETE", f"/v1/sessions/{twin}")
            return same

        with ThreadPoolExecutor(self.args.slots) as clients:
            return sum(clients.map(again, [kept for kept in self.all if kept.id]))

    def show(self, same):
        asked = sum(len(kept.asked) for kept in self.all)
        tokens = sum(len(kept.tokens) for kept in self.all)
        kills = ", ".join(f"{what} {count} times" for what, count in self.kills.items())
        verdicts = [
            checks.Verdict("nothing that was told is lost", not self.failures,
                           f"killed: {kills}; {self.cut_off} turns were cut off after {self.told_and_cut_off:,} tokens" +
                           "".join(f"; {failure}" for failure in self.failures[:3])),
            checks.Verdict("as uninterrupted", same == asked and asked > 0,
                           f"{same:,} of {asked:,} turns, bit for bit; {tokens:,} tokens in {len(self.all)} sessions; "
                           f"{self.taken_up:,.0f} times one was taken up from a snapshot"),
            *(checks.ended_well(end) for end in self.ends)]
        for verdict in verdicts:
            print(verdict)
        summary = {"held": all(verdict.held for verdict in verdicts), "kills": sum(self.kills.values()), "turns": asked,
                   "cut_off": self.cut_off, "tokens": tokens, "taken_up": self.taken_up}
        print(json.dumps(summary))
        return 0 if summary["held"] else 1


if __name__ == "__main__":
    sys.exit(Soak(parse_arguments()).run())
