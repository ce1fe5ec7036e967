"""tests/soak, briefly: every phase, each fault, a second run of the same soak, and a promise that is not kept."""

import json
import os
import re
import subprocess

import pytest
from group import PROJECT, STREAM_WORKER

# A small window, so that few tokens fill it many times over. Dozens of samples while the sessions read, so that one taken late
# beside other tests tells nothing, and room for what short runs differ by: whether limits count is a test of its own.
SHORT = ["--sessions", "3", "--tokens", "3000", "--set", "cache.window_tokens=60", "--answer", "20", "--faults", "on",
         "--stuck-seconds", "5", "--sample-seconds", "0.05", "--memory-growth", "0.25", "--step-growth", "2"]


def soak(output, *options):
    result = subprocess.run([PROJECT / "tests/soak", *SHORT, "--output", output, *options], capture_output=True, text=True,
                            timeout=1500, env=os.environ | {"STREAM_WORKER": str(STREAM_WORKER)})
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("soak")
    return output, soak(output)


def test_every_promise_is_kept(finished):
    output, result = finished
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["held"]
    assert {"constant memory", "flat step time", "loss as on one rank", "text and losses as alone",
            "fault: the last rank is killed", "fault: mpirun is killed"} <= summary["verdicts"].keys()
    page = (output / "soak.html").read_text()
    assert page.count("<svg") == 3 and "The soak held" in page
    assert not re.search(r"""<(script|link|img|iframe)|href="(?!#)|url\((?!#)""", page), "it needs other files"


def test_goes_on_where_it_was_cut_off(finished, tmp_path):
    output, _ = finished
    lines = (output / "record.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"phase": "one rank"' not in line]
    assert len(kept) == len(lines) - 3
    (tmp_path / "record.jsonl").write_text("\n".join([*kept, lines[-2][:40]]))  # the last line torn
    result = soak(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    phases = [json.loads(line)["phase"] for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert phases.count("together") == 1 and phases.count("alone") == phases.count("one rank") == 3


@pytest.mark.parametrize("limit, verdict", [("--memory-growth", "constant memory"), ("--step-growth", "flat step time"),
                                            ("--loss-difference", "loss as on one rank")])
def test_fails_when_a_promise_is_not_kept(finished, limit, verdict):
    output, _ = finished
    result = soak(output, limit, "-1")
    assert result.returncode == 1
    assert f"FAILED {verdict}" in result.stdout


def test_kept_sessions_come_and_go(tmp_path):
    result = subprocess.run([PROJECT / "tests/soak", "kept", "--sessions", "24", "--slots", "4", "--clients", "6", "--seconds", "6",
                             "--requests", "100", "--memory-growth", "0.5", "--output", tmp_path], capture_output=True, text=True, timeout=600,
                            env=os.environ | {"STREAM_WORKER": str(STREAM_WORKER)})
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["requests"] >= 100 and summary["restores"] > 0


def test_another_soak_does_not_go_on_with_this_record(finished):
    output, _ = finished
    result = subprocess.run([PROJECT / "tests/soak", *SHORT, "--tokens", "2999", "--output", output], capture_output=True,
                            text=True, timeout=60)
    assert result.returncode == 1 and "another soak" in result.stderr
