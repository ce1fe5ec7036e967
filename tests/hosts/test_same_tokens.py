"""Several hosts compute what one host computes, bit for bit: losses of a prompt and a greedy answer."""

import shutil
import subprocess
import sys

import pytest
from hosts.group import PROJECT, Group
from hosts.talking import complete

GOLDEN = PROJECT / "tests/data/models"
GOLDEN_MODELS = ["falcon-40b-style", "falcon-7b-style", "gpt-neox", "llama-gqa", "mistral", "mpt"]
MADE = {"qwen2": ["--family", "qwen2", "--layers", "2", "--hidden", "48", "--heads", "6", "--kv-heads", "2", "--intermediate", "90",
                  "--config", '{"tie_word_embeddings": true}']}
PROMPT = [(7 * i * i + 3 * i) % 200 + 1 for i in range(90)]  # beyond the windows below


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The golden ones and those that are made, with a tokenizer, which most lack and a server needs: a path for each."""
    directory = tmp_path_factory.mktemp("models")
    for model in GOLDEN_MODELS:
        shutil.copytree(GOLDEN / model, directory / model)
    for model, options in MADE.items():
        subprocess.run([sys.executable, PROJECT / "tools/make_checkpoint.py", directory / model, "--tokens", "0", *options],
                       check=True, timeout=300)
    for model in [*GOLDEN_MODELS, *MADE]:
        shutil.copy(GOLDEN / "llama-gqa/tokenizer.json", directory / model)
    return directory


def options(model):
    return ["--config", PROJECT / "configs/demo.yaml", *sum((["--set", setting] for setting in (
        f"model.path={model}", "model.weights=f32", "cache.type=f32", "cache.slots=2",
        "cache.sink_tokens=3", "cache.window_tokens=24", "cache.slack_tokens=32")), [])]


def answer(model, ranks, log, network=None):
    with Group(ranks, options(model), log, network) as group:
        choice = complete(group.url, prompt=PROMPT, echo=True, logprobs=2, max_tokens=24, return_token_ids=True)
        end = group.end()
    assert end["exit"] == 0 and not end["left"]
    return choice["token_ids"], choice["logprobs"]["token_logprobs"]


@pytest.mark.parametrize("model", [*GOLDEN_MODELS, *MADE])
def test_two_hosts(model, checkpoints, hosts, tmp_path):
    one_host = answer(checkpoints / model, 2, tmp_path / "one.log")
    assert len(one_host[0]) == 24 and len(one_host[1]) == len(PROMPT) + 24
    assert answer(checkpoints / model, 2, tmp_path / "two.log", hosts) == one_host


@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_three_hosts_with_four_ranks(checkpoints, hosts, tmp_path):
    model = checkpoints / "llama-gqa"
    assert answer(model, 4, tmp_path / "three.log", hosts) == answer(model, 4, tmp_path / "one.log")


def test_slow_link_that_loses_packets(checkpoints, hosts, tmp_path, capsys):
    one_host = answer(checkpoints / "llama-gqa", 2, tmp_path / "one.log")
    done = [hosts.degrade(name) for name in hosts.names]
    with capsys.disabled():
        print(f"\nthe link: {done[0]}", flush=True)
    assert answer(checkpoints / "llama-gqa", 2, tmp_path / "two.log", hosts) == one_host
    assert sum(map(hosts.dropped, hosts.names)) > 0, "the link lost nothing: this shows nothing"
