"""A whole server with clients on a GPU. What tests/e2e says of sessions holds here, too."""

import json
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import DEVICE, PACK, Server

sys.path.insert(0, str(PACK / "tests/e2e"))
from test_sessions import *  # noqa: E402,F403
from test_sessions import post  # noqa: E402

LINES = ["The fog lay on the moor.", "It was a bright cold morning", "He took the lamp, and", "Nobody had seen the dog"]


def complete(server, prompt, **options):
    body = {"prompt": prompt, "max_tokens": 48, "temperature": 0, "ignore_eos": True, "return_token_ids": True} | options
    return [choice["token_ids"] for choice in post(server, "/v1/completions", body)["choices"]]


def test_it_serves_from_the_gpu(group):
    assert DEVICE != "cuda" or "compute capability" in group.log()
    said = post(group, "/v1/chat/completions", {"messages": [{"role": "user", "content": "Good evening."}], "max_tokens": 16})
    assert said["choices"][0]["message"]["content"]


def test_the_cpu_says_the_same(group, tmp_path):
    """Rounded otherwise, but greedy choices of so few tokens are not so close to each other."""
    cpu = Server(tmp_path / "log", "parallel.device=cpu")
    try:
        same = [complete(group, line, max_tokens=16) == complete(cpu, line, max_tokens=16) for line in LINES]
    finally:
        assert cpu.end() == 0
    assert sum(same) >= len(LINES) - 1, same


def test_company_changes_nothing(group):
    """Sixty-four streams at once, some that branch: each says what it says alone, however it is batched."""
    prompts = [f"{LINES[i % len(LINES)]} {i} " * (1 + i % 7) for i in range(64)]
    alone = [complete(group, prompt, temperature=0.8, seed=i, n=1 + i % 3) for i, prompt in enumerate(prompts[:12])]
    with ThreadPoolExecutor(64) as clients:
        together = list(clients.map(lambda i: complete(group, prompts[i], temperature=0.8, seed=i, n=1 + i % 3), range(64)))
    assert together[:12] == alone


def test_sessions_leave_the_gpu_and_come_back(group, tmp_path):
    """Eight on two slots, parked in the host's memory in turn, say what eight say that have a slot each."""
    def turns(server):
        kept = [post(server, "/v1/sessions", {})["id"] for _ in range(8)]
        said = []
        for turn in range(4):
            for which, session in enumerate(kept):
                prompt = f"{LINES[which % len(LINES)]} {which} {turn} " * (3 + which)
                said.append(complete(server, prompt, session=session, temperature=0.8, seed=turn))
        return said

    few = Server(tmp_path / "log", "cache.slots=2", "sessions.max_sessions=8")
    try:
        said = turns(few)
        with urllib.request.urlopen(f"{few.url}/metrics", timeout=120) as metrics:
            restores = [line for line in metrics.read().decode().splitlines() if "session_restores_total " in line]
    finally:
        assert few.end() == 0
    assert float(restores[-1].split()[1]) >= 8
    assert said == turns(group)


def test_a_stream_comes_token_by_token(group):
    """Prints what a client sees; the times are this machine's and promise nothing."""
    body = {"prompt": "The fog lay on the moor. " * 20, "max_tokens": 400, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(f"{group.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin = time.monotonic()
    times = []
    with urllib.request.urlopen(request, timeout=120) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                times.append(time.monotonic())
        assert line.strip() == b"" or line.startswith(b"data: [DONE]")
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    print(f"first token after {(times[0] - begin) * 1e3:.1f} ms, then {statistics.median(gaps) * 1e3:.2f} ms a token (median)")
    assert len(times) > 100


def test_it_ends_in_good_order(tmp_path):
    server = Server(tmp_path / "log")
    complete(server, LINES[0])
    assert server.end() == 0
