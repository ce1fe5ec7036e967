"""Sessions that a client keeps, on servers with settings of their own: other cache modes, more sessions than slots."""

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from group import Group, wait_until
from test_sessions import post


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_other_modes_are_one_long_call_too(mode):
    """With a penalty that counts what was said; and back, in dense mode from where the session was full."""
    options = {"temperature": 0.9, "seed": 3, "max_tokens": 24, "ignore_eos": True, "return_token_ids": True,
               "repetition_penalty": 1.2, "repeat_last_n": 16}
    with Group(f"cache.mode={mode}", "cache.slots=4", "cache.slack_tokens=64", *(["cache.max_context=300"] * (mode == "dense")),
               num_ranks=2) as group:
        group.wait_until_listening()
        session = post(group, "/v1/sessions", {})["id"]
        tokens, ends = [], []
        for turn in range(4):
            new = post(group, "/tokenize", {"prompt": f"At {turn} o'clock " + "it rained and " * 5,
                                            "add_special_tokens": turn == 0})["tokens"] * (4 if mode == "window" else 1)
            said = post(group, "/v1/completions", options | {"session": session, "prompt": new})
            alone = post(group, "/v1/completions", options | {"prompt": tokens + new})
            assert said["choices"][0]["token_ids"] == alone["choices"][0]["token_ids"], turn
            tokens += new + said["choices"][0]["token_ids"]
            ends.append(len(tokens))
        evicted = said["usage"]["session"]["evicted_tokens"]
        if mode == "window":
            assert evicted > 0
            return
        assert evicted == 0
        full = post(group, "/v1/completions", options | {"session": session, "max_tokens": 1000})
        assert full["choices"][0]["finish_reason"] == "length"
        assert full["usage"]["session"]["seen_tokens"] == 301, "the last token is chosen, and not taken in any more"
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(group, "/v1/completions", options | {"session": session, "prompt": [5]})
        assert post(group, f"/v1/sessions/{session}/rollback", {"to": ends[0]})["seen_tokens"] == ends[0]
        again = post(group, "/v1/completions", options | {"session": session, "prompt": tokens[ends[0]:ends[1] - 24]})
        assert again["choices"][0]["token_ids"] == tokens[ends[1] - 24:ends[1]]


def metric(group, name):
    text = urllib.request.urlopen(f"{group.url}/metrics", timeout=120).read().decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"sinkstream_{name} ")))


def test_more_sessions_than_slots_go_on_exactly():
    """Twelve at once on two slots of two ranks: each says what one call says that is given all its tokens."""
    options = {"temperature": 0, "max_tokens": 6, "ignore_eos": True, "return_token_ids": True}
    with Group("cache.slots=2") as group, ThreadPoolExecutor(12) as clients:
        group.wait_until_listening()
        sessions = [post(group, "/v1/sessions", {})["id"] for _ in range(12)]
        tokens = [[] for _ in sessions]
        for turn in range(4):
            new = [[10 + 7 * turn + i] * (1 + 40 * turn * (i % 3)) + [300 + i] for i in range(12)]
            said = list(clients.map(lambda session, prompt: post(
                group, "/v1/completions", options | {"session": session, "prompt": prompt}), sessions, new))
            tokens = [t + n + s["choices"][0]["token_ids"] for t, n, s in zip(tokens, new, said)]
        assert metric(group, "parked_sessions") >= 10
        assert metric(group, "session_restores_total") >= 20
        alone = clients.map(lambda t: post(group, "/v1/completions", options | {"prompt": t[:-6]}), tokens)
        assert [t[-6:] for t in tokens] == [a["choices"][0]["token_ids"] for a in alone]
        for session in sessions:
            urllib.request.urlopen(urllib.request.Request(f"{group.url}/v1/sessions/{session}", method="DELETE"), timeout=120)
        assert wait_until(lambda: metric(group, "parked_sessions") == 0)


def test_sessions_that_nobody_has_room_for_are_made_anew():
    """Five by turns where one finds room, on two ranks; and one that goes back to long ago."""
    options = {"temperature": 0.9, "seed": 4, "max_tokens": 6, "ignore_eos": True, "return_token_ids": True}
    with Group("cache.slots=2", "sessions.parked_bytes=0", "sessions.max_sessions=5", "cache.window_tokens=60") as group:
        group.wait_until_listening()
        assert "2 slots and 0 parking places keep the cache of 1 session(s) at most" in group.log()
        sessions = [post(group, "/v1/sessions", {})["id"] for _ in range(5)]
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(group, "/v1/sessions", {})
        assert refused.value.code == 429 and refused.value.headers["Retry-After"]
        tokens = [[] for _ in sessions]

        def take_turn(i, new):
            said = post(group, "/v1/completions", options | {"session": sessions[i], "prompt": new})
            tokens[i] += new + said["choices"][0]["token_ids"]
            alone = post(group, "/v1/completions", options | {"prompt": tokens[i][:-6]})
            assert tokens[i][-6:] == alone["choices"][0]["token_ids"]

        for turn in range(3):
            for i in range(5):
                take_turn(i, [10 + (i + 7 * n) % 300 for n in range(150 * (i + 1))] if turn == 0 else [11 + turn])
        replayed = metric(group, "replayed_tokens_total")
        assert replayed > 0
        assert post(group, f"/v1/sessions/{sessions[4]}/rollback", {"to": 300})["seen_tokens"] == 300
        del tokens[4][300:]
        take_turn(4, [17])
        assert metric(group, "replayed_tokens_total") > replayed
