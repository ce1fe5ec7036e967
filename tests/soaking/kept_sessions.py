"""What the soaks of sessions that clients keep have in common."""

import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def metric(url, name):
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        for line in response.read().decode().splitlines():
            if line.startswith(f"sinkstream_{name} "):
                return float(line.split()[1])
    raise KeyError(name)


def add_group_arguments(parser, ranks, output):
    """Those that every soak of one group has; `output`: the name of its directory."""
    parser.add_argument("--ranks", type=int, default=ranks, help="(default: %(default)s)")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs/demo.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="a setting of the group")
    parser.add_argument("--output", type=Path, default=PROJECT / "build" / output, help=f"directory (default: build/{output})")


def group_options(config, *settings):
    """For a group: its configuration, and settings in its stead."""
    return ["--config", config, *(word for setting in settings for word in ("--set", setting))]


def random_prompt(chance, novels, most):
    start = chance.randrange(len(novels) - most)
    return novels[start:start + chance.randint(1, most)]


def random_turn(chance, prompt, most_answered):
    """A turn's body, greedy or seeded."""
    sampling = {"temperature": 0} if chance.random() < 0.5 else {"temperature": 0.8, "seed": chance.randrange(2**31)}
    return sampling | {"prompt": prompt, "max_tokens": chance.randint(1, most_answered), "ignore_eos": True,
                       "return_token_ids": True}
