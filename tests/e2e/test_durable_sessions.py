"""Sessions on disk outlive the group, however it ends."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request

import pytest

from group import PROJECT, STREAM_WORKER, Group, wait_until
from test_session_settings import metric
from test_sessions import post

OPTIONS = {"temperature": 0.9, "seed": 3, "max_tokens": 40, "ignore_eos": True, "return_token_ids": True}


def show(group, session, what=""):
    return json.load(urllib.request.urlopen(f"{group.url}/v1/sessions/{session}{what}", timeout=120))


def test_a_group_that_is_killed_over_and_over_loses_nothing(tmp_path):
    """A window that is soon full, so that sessions are made anew with tokens left out, or taken up from snapshots."""
    result = subprocess.run([PROJECT / "tests/soak", "killed", "--kills", "6", "--sessions", "8", "--clients", "6", "--slots", "3",
                             "--seconds", "1.5", "--set", "cache.window_tokens=24",
                             "--set", "sessions.snapshot_tokens=50", "--output", tmp_path], capture_output=True, text=True,
                            timeout=900, env=os.environ | {"STREAM_WORKER": str(STREAM_WORKER)})
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["kills"] == 6 and summary["cut_off"] > 0


@pytest.mark.parametrize("sync_seconds", [1, 0])
def test_a_chat_goes_on_on_other_ranks(tmp_path, sync_seconds):
    on_disk = (f"sessions.directory={tmp_path / 'kept'}", f"sessions.sync_seconds={sync_seconds}")
    with Group(*on_disk, num_ranks=2) as group:
        group.wait_until_listening()
        session = post(group, "/v1/sessions", {"instructions": "You are a detective."})["id"]
        post(group, "/v1/chat/completions",
             {"session": session, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 30})
        said = post(group, "/v1/completions", OPTIONS | {"session": session})["choices"][0]["token_ids"]
        tokens = show(group, session, "/transcript")["tokens"]
        assert tokens[-40:] == said and show(group, session)["same_arithmetic"]
        for pid in group.processes():
            os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    with Group(*on_disk, num_ranks=2) as group:
        group.wait_until_listening()
        assert show(group, session, "/transcript")["tokens"] == tokens
        assert metric(group, "stored_sessions") == 1 and metric(group, "journal_bytes") > 0
        fork = post(group, f"/v1/sessions/{session}/fork", {})["id"]
        went_on = post(group, "/v1/completions", OPTIONS | {"session": fork})["choices"][0]["token_ids"]
    with Group(*on_disk, num_ranks=1) as group:
        group.wait_until_listening()
        assert not show(group, session)["same_arithmetic"]
        answer = post(group, "/v1/chat/completions",
                      {"session": session, "messages": [{"role": "user", "content": "And now?"}], "max_tokens": 10,
                       "ignore_eos": True})
        assert answer["usage"]["session"]["seen_tokens"] > len(tokens) + 10
        assert show(group, fork, "/transcript")["tokens"] == tokens + went_on


def test_a_long_session_is_taken_up_where_its_snapshot_stands(tmp_path):
    on_disk = (f"sessions.directory={tmp_path}", "sessions.snapshot_tokens=300")
    long, short = [100 + i % 900 for i in range(1200)], [5] * 100
    with Group(*on_disk, num_ranks=2) as group:
        group.wait_until_listening()
        session = post(group, "/v1/sessions", {})["id"]
        post(group, f"/v1/sessions/{session}/append", {"prompt": long})
        assert wait_until(lambda: metric(group, "snapshots_saved_total") == 1)
        assert metric(group, "snapshot_bytes") > 0
        post(group, f"/v1/sessions/{session}/append", {"prompt": short})
        for pid in group.processes():
            os.kill(pid, signal.SIGKILL)
    files = sorted(tmp_path.glob("snapshots/*/*.snapshot"))
    assert [file.parent.name for file in files] == ["rank-0-of-2", "rank-1-of-2"]
    with Group(*on_disk, num_ranks=2) as group:
        group.wait_until_listening()
        twin = post(group, "/v1/sessions", {})["id"]
        for prompt in (long, short):
            post(group, f"/v1/sessions/{twin}/append", {"prompt": prompt})
        said = [post(group, "/v1/completions", OPTIONS | {"session": one})["choices"][0]["token_ids"] for one in (session, twin)]
        assert said[0] == said[1]
        assert metric(group, "snapshots_taken_up_total") == 1
        assert metric(group, "replayed_tokens_total") == 99, "what came later, but for the token that the turn goes on from"
    files[1].write_bytes(b"damaged")
    with Group(*on_disk, num_ranks=2) as group:
        group.wait_until_listening()
        said = [post(group, "/v1/completions", OPTIONS | {"session": one})["choices"][0]["token_ids"] for one in (session, twin)]
        assert said[0] == said[1]
        assert metric(group, "snapshot_failures_total") == 1
        assert f"1 snapshot(s) in {files[1].parent} are removed: cut short, damaged" in group.log()


def test_a_directory_that_is_in_use_is_refused_at_once(tmp_path):
    on_disk = f"sessions.directory={tmp_path}"
    with Group(on_disk, num_ranks=1) as group:
        group.wait_until_listening()
        with Group(on_disk, num_ranks=1) as second:
            assert second.wait() == 2
            assert f"sessions.directory: {tmp_path}: another process uses it" in second.log()
            assert "loaded" not in second.log(), "before the model is loaded"


def test_a_directory_of_another_model_is_refused_at_once(tmp_path):
    on_disk = f"sessions.directory={tmp_path / 'kept'}"
    with Group(on_disk, num_ranks=1) as group:
        group.wait_until_listening()
    other = tmp_path / "other"
    shutil.copytree(PROJECT / "models/demo", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 2e-5}))
    with Group(on_disk, f"model.path={other}", num_ranks=1) as second:
        assert second.wait() == 2
        assert "holds sessions of the model 'demo'" in second.log()
        assert "loaded" not in second.log(), "before the model is loaded"
