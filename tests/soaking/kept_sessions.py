"""What the soaks of sessions that clients keep have in common."""

import urllib.request


def metric(url, name):
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        for line in response.read().decode().splitlines():
            if line.startswith(f"sinkstream_{name} "):
                return float(line.split()[1])
    raise KeyError(name)


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
