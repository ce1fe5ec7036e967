"""stream-chat records a conversation as one session; chat_report.py tells whether it stays fluent."""

import json
import os
import subprocess
import sys

import pytest

from gguf_files import PROJECT

MESSAGES = PROJECT / "tools/chat_messages.txt"


def converse(tmp_path, *options, turns=6, name="record"):
    record = tmp_path / f"{name}.jsonl"
    result = subprocess.run(
        [os.environ["STREAM_CHAT"], "--config", PROJECT / "configs/demo.yaml", "--messages", MESSAGES, "--turns", str(turns),
         "--answer-tokens", "40", "--output", record, *options],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1"})
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_a_conversation_is_one_session(tmp_path):
    turns = converse(tmp_path, turns=12)
    assert [turn["user"] for turn in turns] == MESSAGES.read_text().splitlines()[:12]
    seen = [turn["seen"] for turn in turns]
    for before, after, turn in zip(seen, seen[1:], turns[1:]):
        assert after > before + turn["tokens"]  # nothing is read again, and nothing is left out
        assert after < before + turn["tokens"] + 60
    assert seen[-1] > 256 and [turn["resident"] for turn in turns] == [min(count, 256) for count in seen]
    assert all(turn["assistant"] and turn["tokens"] <= 40 and turn["mean_logprob"] < 0 for turn in turns)


def test_the_seed_decides(tmp_path):
    def answers(seed):
        return [turn["assistant"] for turn in converse(tmp_path, "--seed", str(seed), turns=3, name=seed)]

    assert answers(1) == answers(1) != answers(2)


def test_a_penalty_looks_back_as_far_as_it_is_told(tmp_path):
    def answers(*options):
        return [turn["assistant"] for turn in converse(tmp_path, "--temperature", "0", *options, turns=3)]

    free = answers()
    penalty = ("--repetition-penalty", "1.8")
    assert answers(*penalty, "--repeat-last-n", "0") == free
    assert free != answers(*penalty, "--repeat-last-n", "4") != answers(*penalty) != free


@pytest.mark.parametrize("only_the_likeliest", [["--top-k", "1"], ["--min-p", "1"]], ids=["top-k", "min-p"])
def test_what_is_unlikely_is_left_out(tmp_path, only_the_likeliest):
    def answers(*options):
        return [turn["assistant"] for turn in converse(tmp_path, *options, turns=2)]

    assert answers("--temperature", "2", *only_the_likeliest) == answers("--temperature", "0") != answers("--temperature", "2")


@pytest.mark.parametrize("penalty", ["--presence-penalty", "--frequency-penalty"])
def test_a_penalty_makes_other_answers(tmp_path, penalty):
    def answers(strength):
        return [turn["assistant"] for turn in converse(tmp_path, "--temperature", "0", penalty, strength, turns=2)]

    assert answers("0") != answers("2") != answers("0.5")


@pytest.mark.parametrize("option, value", [("--top-k", "-1"), ("--min-p", "1.5"), ("--presence-penalty", "3"),
                                           ("--frequency-penalty", "-2.1")])
def test_a_value_out_of_range_is_refused(tmp_path, option, value):
    result = subprocess.run([os.environ["STREAM_CHAT"], "--messages", MESSAGES, option, value], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode != 0 and option in result.stderr


def report(tmp_path, answers, *options):
    record = tmp_path / "record.jsonl"
    record.write_text("".join(json.dumps({"user": "?", "assistant": answer, "tokens": 10, "ended": True, "mean_logprob": -1.5,
                                          "seen": 30 * number, "resident": 20}) + "\n"
                              for number, answer in enumerate(answers, start=1)))
    return subprocess.run([sys.executable, PROJECT / "tools/chat_report.py", record, *options], capture_output=True, text=True,
                          timeout=60)


FLUENT = [f"In town number {number} they like {number} songs of the sea, and each is sung by {number + 1} people at dawn"
          for number in range(8)]


def test_a_fluent_conversation_passes_and_is_written_down(tmp_path):
    (tmp_path / "about.md").write_text("# Songs\n")
    result = report(tmp_path, FLUENT, "--parts", "2", "--markdown", tmp_path / "out.md", "--about", tmp_path / "about.md")
    assert result.returncode == 0, result.stderr
    assert "| 5–8 | 240 | 10 | -1.50 | " in result.stdout
    text = (tmp_path / "out.md").read_text()
    assert text.startswith("# Songs\n\n| turns |")
    assert all(answer in text for answer in FLUENT) and "**8. ?**" in text


@pytest.mark.parametrize("bad, column", [
    (["You can do it, yes. " * 6, FLUENT[5], FLUENT[6], "so it goes on and " * 5], "| 2 | 0 |"),
    ([FLUENT[0], FLUENT[1], "Oh! And I say: " + FLUENT[2], "Yes."], "| 0 | 3 |"),
    (["Yes.", "Yes.", "Yes.", "No."], "| 0 | 2 |"),
])
def test_what_is_not_fluent_fails(tmp_path, bad, column):
    result = report(tmp_path, FLUENT[:4] + bad, "--parts", "2")
    assert result.returncode == 1 and "%" in result.stderr
    assert result.stdout.strip().endswith(column)
