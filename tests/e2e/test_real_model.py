"""SmolLM2-135M-Instruct, from its one word. Where it has not been fetched these tests are skipped, except in CI."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from group import PROJECT, STREAM_WORKER, Group
from novels import read_novel

CONFIG = PROJECT / "configs/smollm2.yaml"
TOOLS = STREAM_WORKER.parents[1] / "tools"


def plan(environment):
    return subprocess.run([STREAM_WORKER, "--config", CONFIG, "--plan"], env=environment, capture_output=True, text=True,
                          timeout=60)


def test_what_is_not_fetched_says_how(tmp_path):
    environment = os.environ | {"SINKSTREAM_MODELS": str(tmp_path)}
    planned = plan(environment)
    assert planned.returncode == 0, planned.stderr
    assert f"launch/fetch-model smollm2 fetches them, into {tmp_path}/smollm2" in planned.stdout
    started = subprocess.run([STREAM_WORKER, "--config", CONFIG], env=environment, capture_output=True, text=True,
                             timeout=60)
    assert started.returncode == 3
    assert "launch/fetch-model smollm2" in started.stderr


@pytest.fixture(scope="module")
def real_model():
    missing = "launch/fetch-model" in plan(os.environ).stdout
    if missing and os.environ.get("CI") == "true":
        pytest.fail("CI has the real model (launch/install test fetches it), but it is not there")
    if missing:
        pytest.skip("SKIPPED: the real model is not here; launch/fetch-model smollm2 fetches it")


@pytest.fixture(scope="module")
def group(real_model):
    with Group(config=CONFIG, num_ranks=1) as running:
        yield running.wait_until_listening()


def test_it_answers_sensibly(client):
    choice = client.chat.completions.create(
        model="smollm2", temperature=0, max_tokens=24,
        messages=[{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]).choices[0]
    assert "Paris" in choice.message.content and choice.finish_reason == "stop"


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_messages_go_through_its_template(group):
    tokens = post(f"{group.url}/tokenize", {"messages": [{"role": "user", "content": "12 eggs?"}]})["tokens"]
    assert post(f"{group.url}/detokenize", {"tokens": tokens})["prompt"] == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n12 eggs?<|im_end|>\n<|im_start|>assistant\n")
    assert tokens[0] == 1 and tokens.count(2) == 2  # one token each, whatever text they stand in


def mean_loss(tmp_path, novel, mode, window):
    output = tmp_path / f"{mode}.csv"
    result = subprocess.run(
        [TOOLS / "stream-perplexity", "--config", CONFIG, "--set", f"cache.mode={mode}", "--set", f"cache.window_tokens={window}",
         "--text", novel, "--tokens", "769", "--block", "128", "--output", output],
        capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    losses = [float(line.split(",")[2]) for line in Path(output).read_text().splitlines()[1:]]
    return sum(losses[-4:]) / 4  # behind the first 256 tokens


def test_its_sinks_grew_by_themselves(real_model, tmp_path):
    novel = tmp_path / "novel.txt"
    novel.write_text(read_novel("Dickens_Expectations_1861", 6000), encoding="utf-8")
    sinks, window = mean_loss(tmp_path, novel, "sink", 124), mean_loss(tmp_path, novel, "window", 128)
    assert sinks < 4.0
    assert window > sinks + 0.3
