"""tests/soak resumed: what the first turn of a session costs after a kill -9 and a restart, with snapshots and without.

The session reads novels, in turns; every process of the group is killed, and the group started anew. From the moment when it
listens, a turn of one token of prompt and one of answer is timed, then a second turn, which has all it needs.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hosts.group import Group  # noqa: E402
from soaking import texts  # noqa: E402
from soaking.kept_sessions import add_group_arguments, group_options, metric  # noqa: E402
from soaking.killed import Client  # noqa: E402

PATIENCE_SECONDS = 600  # for a snapshot
NEVER = 1_000_000_000  # tokens between snapshots


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/soak resumed", description="Times the first turn of a session after a restart.")
    parser.add_argument("--tokens", type=int, default=20_000, help="that the session has read (default: %(default)s)")
    parser.add_argument("--turn-tokens", type=int, default=1_000, help="of each turn that reads (default: %(default)s)")
    add_group_arguments(parser, ranks=2, output="soak-resumed")
    return parser.parse_args()


class Soak:
    def __init__(self, arguments):
        self.args = arguments

    def group(self, name, *settings):
        directory = self.args.output / name
        options = group_options(self.args.config, f"sessions.directory={directory}", *settings, *self.args.set)
        return Group(self.args.ranks, options, self.args.output / f"{name}.log", None)

    def run(self):
        shutil.rmtree(self.args.output, ignore_errors=True)
        self.args.output.mkdir(parents=True)
        rows = [self.resume("snapshots"), self.resume("made-anew", f"sessions.snapshot_tokens={NEVER}")]
        print("| | first turn, s | second turn, s | tokens taken in anew |\n|---|---|---|---|")
        for row in rows:
            print(f"| {row['how']} | {row['first']:.2f} | {row['second']:.2f} | {row['replayed']:,.0f} |")
        same = rows[0]["said"] == rows[1]["said"]
        print(json.dumps({"held": same, "rows": rows}))
        return 0 if same else 1

    def resume(self, how, *settings):
        with self.group(how, *settings) as group:
            client = Client(group.url)
            session = client.ask("POST", "/v1/sessions", {})["id"]
            tokens = texts.prompts(group.url, 1, self.args.tokens)[0]
            for begin in range(0, len(tokens), self.args.turn_tokens):
                client.ask("POST", f"/v1/sessions/{session}/append", {"prompt": tokens[begin:begin + self.args.turn_tokens]})
                print(f"{how}: read {begin + self.args.turn_tokens:,}", file=sys.stderr)
            self.await_snapshots(group.url)
        with self.group(how, *settings) as group:
            client = Client(group.url)
            first, said = self.turn(client, session)
            second, more = self.turn(client, session)
            return {"how": how, "first": first, "second": second, "said": said + more,
                    "replayed": metric(group.url, "replayed_tokens_total")}

    def await_snapshots(self, url):
        """Until no more of them come."""
        deadline, last = time.monotonic() + PATIENCE_SECONDS, -1
        while (saved := metric(url, "snapshots_saved_total")) != last and time.monotonic() < deadline:
            last = saved
            time.sleep(2)

    def turn(self, client, session):
        begin = time.monotonic()
        answer = client.ask("POST", "/v1/completions", {"session": session, "prompt": [5], "max_tokens": 1, "temperature": 0,
                                                        "ignore_eos": True, "return_token_ids": True})
        return time.monotonic() - begin, answer["choices"][0]["token_ids"]


if __name__ == "__main__":
    sys.exit(Soak(parse_arguments()).run())
