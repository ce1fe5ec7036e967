"""Sessions on disk outlive the group, however it ends."""

import json
import os
import signal
import subprocess
import urllib.request

import pytest

from group import PROJECT, STREAM_WORKER, Group
from test_session_settings import metric
from test_sessions import post

OPTIONS = {"temperature": 0.9, "seed": 3, "max_tokens": 40, "ignore_eos": True, "return_token_ids": True}


def show(group, session, what=""):
    return json.load(urllib.request.urlopen(f"{group.url}/v1/sessions/{session}{what}", timeout=120))


def test_a_group_that_is_killed_over_and_over_loses_nothing(tmp_path):
    """A window that is soon full, so that sessions are made anew with tokens left out."""
    result = subprocess.run([PROJECT / "tests/soak", "killed", "--kills", "6", "--sessions", "8", "--clients", "6", "--slots", "3",
                             "--seconds", "1.5", "--set", "cache.window_tokens=24", "--output", tmp_path], capture_output=True, text=True,
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
                      {"session": session, "messages": [{"role": "user", "content": "And now?"}], "max_tokens": 10})
        assert answer["usage"]["session"]["seen_tokens"] > len(tokens) + 10
        assert show(group, fork, "/transcript")["tokens"] == tokens + went_on


def test_a_directory_that_is_in_use_is_refused_at_once(tmp_path):
    on_disk = f"sessions.directory={tmp_path}"
    with Group(on_disk, num_ranks=1) as group:
        group.wait_until_listening()
        with Group(on_disk, num_ranks=1) as second:
            assert second.wait() == 2
            assert f"sessions.directory: {tmp_path}: another process uses it" in second.log()
            assert "loaded" not in second.log(), "before the model is loaded"
