"""tools/compare_commits.py: one bit is found, equal outputs pass, and the real server prints all of its bits."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tools"))
from comparison import bits, speed  # noqa: E402
from comparison.trees import Failed  # noqa: E402

CASE = bits.Case("mpt", "sink", 2, "bf16")
OTHER = bits.Case("mpt", "dense", 1, "f32")
OUTPUTS = {
    ("losses", "prompt"): [2.5, 0.0, 7.25],
    ("logprobs", "prompt"): [-2.5, -9999.0],
    ("likeliest", "prompt"): [4, 250],
    ("greedy", "greedy 0"): [7, 8],
    ("seeded", "top_p 1"): [9, 9, 1],
}


def next_float32(value):
    return struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", value))[0] + 1))[0]


def changed(output, index, value):
    return OUTPUTS | {output: [*OUTPUTS[output][:index], value, *OUTPUTS[output][index + 1:]]}


def test_equal_outputs_pass(capsys):
    found = bits.difference(OUTPUTS, dict(OUTPUTS))
    assert not any(found.differing.values()) and found.largest == 0
    assert bits.judge({CASE: found}, {})
    assert capsys.readouterr().out == "bits: 1 of 1 cases equal\n"


def test_one_bit_is_found(capsys):
    found = bits.difference(OUTPUTS, changed(("losses", "prompt"), 2, next_float32(7.25)))
    assert found.differing == dict.fromkeys(bits.KINDS, 0) | {"losses": 1}
    assert found.largest == 2**-21
    assert not bits.judge({CASE: found, OTHER: bits.difference(OUTPUTS, OUTPUTS)}, {})
    out = capsys.readouterr().out
    assert "mpt/sink/2/bf16" in out and "4.77e-07" in out and "1 of 2 cases equal" in out and "mpt/dense" not in out


@pytest.mark.parametrize("output, index, value", [
    (("losses", "prompt"), 1, -0.0),
    (("logprobs", "prompt"), 1, -9998.0),
    (("likeliest", "prompt"), 0, 5),
    (("greedy", "greedy 0"), 1, 7),
    (("seeded", "top_p 1"), 0, 8),
])
def test_every_kind_counts(output, index, value):
    assert bits.difference(OUTPUTS, changed(output, index, value)).differing[output[0]] == 1


def test_what_is_missing_differs():
    shorter = OUTPUTS | {("greedy", "greedy 0"): [7]}
    without = {output: numbers for output, numbers in OUTPUTS.items() if output[0] != "seeded"}
    for pair in ((OUTPUTS, shorter), (shorter, OUTPUTS)):
        assert bits.difference(*pair).differing["greedy"] == 1
    for pair in ((OUTPUTS, without), (without, OUTPUTS)):
        assert bits.difference(*pair).differing["seeded"] == 3


def test_a_deliberate_change_passes_and_is_told(capsys):
    found = {CASE: bits.difference(OUTPUTS, changed(("losses", "prompt"), 0, 2.25))}
    assert bits.judge(found, {"mpt/*": "the bias is added last", "falcon*": "left over"})
    out = capsys.readouterr().out
    assert "deliberate: the bias is added last\n" in out
    assert "deliberate: left over: nothing differs in falcon*\n" in out
    assert not bits.judge(found, {"mpt/*/3/*": "another rank count"})


def test_rounded_numbers_are_refused():
    assert bits.exact(next_float32(0.1)) == next_float32(0.1)
    with pytest.raises(Failed, match="no float32"):
        bits.exact(0.1)


def test_cases_are_all_golden_checkpoints_in_all_modes():
    cases = bits.all_cases()
    checkpoints = {path.parent.name for path in (PROJECT / "tests/data/models").glob("*/reference.json")}
    assert {case.checkpoint for case in cases} == checkpoints and len(checkpoints) >= 6
    assert len(cases) == len(set(cases)) == len(checkpoints) * 3 * 4 * 2  # each has four heads at least


def test_the_server_prints_all_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(bits, "WORK", tmp_path)
    outputs = bits.outputs_of(os.environ["STREAM_WORKER"], CASE, bits.with_tokenizer(CASE.checkpoint))
    assert len(outputs["losses", "prompt"]) == 199
    assert len(outputs["greedy", "greedy 0"]) == bits.ANSWER_TOKENS
    assert {kind for kind, _ in outputs} == set(bits.KINDS)
    assert sum(kind == "seeded" for kind, _ in outputs) == 2 * len(bits.SAMPLED)


def test_pairs_bear_a_machine_that_slows_down():
    quiet, busy = (10.0, 9.9), (5.0, 4.95)
    result = speed.summary([quiet, quiet, quiet, busy, busy])
    assert (result.before, result.after) == (10.0, 9.9) and result.ratio == pytest.approx(0.99)


def test_runs_alternate():
    sides = []
    pairs = speed.alternate(lambda side: sides.append(side) or side, 3)
    assert sides == [0, 1, 1, 0, 0, 1] and pairs == [(0, 1)] * 3


@pytest.mark.parametrize("options, words", [
    (("no-such-commit",), "no-such-commit"),
    (("--cases", "nothing/*"), "no case is named nothing/*"),
])
def test_what_cannot_be_compared_is_2(options, words):
    result = subprocess.run([sys.executable, "-B", PROJECT / "tools/compare_commits.py", *options], capture_output=True,
                            text=True, timeout=120)
    assert result.returncode == 2 and words in result.stderr
