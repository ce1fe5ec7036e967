"""Sessions that a client keeps say what stateless calls say that are given all their tokens. On any server: tests/gpus runs
these, too, so they need nothing but Python's own and pytest."""

import json
import urllib.request

import pytest


def post(group, path, body):
    request = urllib.request.Request(f"{group.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.9, "seed": 11}])
def test_turns_say_what_one_call_says(group, sampling):
    """Beyond the window too, and after going back and in a fork."""
    options = sampling | {"max_tokens": 24, "ignore_eos": True, "return_token_ids": True}
    begin = post(group, "/tokenize", {"prompt": "The fog lay on the moor. " * 3})["tokens"]
    session = post(group, "/v1/sessions", {"prompt": begin})["id"]
    tokens = list(begin)
    assert len(tokens) < 64
    for turn in range(6):
        new = post(group, "/tokenize", {"prompt": f" Then, at {turn} o'clock, " + "it rained and " * 20,
                                        "add_special_tokens": False})["tokens"]
        said = post(group, "/v1/completions", options | {"session": session, "prompt": new, "expected_seen": len(tokens)})
        alone = post(group, "/v1/completions", options | {"prompt": tokens + new})
        if turn == 0:
            # A prefix of its own length stays for ever, where stateless calls keep the server's sinks: the same
            # tokens give the same answer as long as nothing is forgotten.
            assert said["choices"][0]["token_ids"] == alone["choices"][0]["token_ids"]
        tokens += new + said["choices"][0]["token_ids"]
        assert said["usage"]["session"]["seen_tokens"] == len(tokens)
    shown = json.load(urllib.request.urlopen(f"{group.url}/v1/sessions/{session}/transcript", timeout=120))
    assert shown["tokens"] == tokens

    before = len(tokens)
    fork = post(group, f"/v1/sessions/{session}/fork", {})["id"]
    first = post(group, "/v1/completions", options | {"session": session})["choices"][0]["token_ids"]
    assert post(group, f"/v1/sessions/{session}/rollback", {"to": before})["seen_tokens"] == before
    again = post(group, "/v1/completions", options | {"session": session})["choices"][0]["token_ids"]
    forked = post(group, "/v1/completions", options | {"session": fork})["choices"][0]["token_ids"]
    assert first == again == forked
    for kept in (session, fork):
        urllib.request.urlopen(urllib.request.Request(f"{group.url}/v1/sessions/{kept}", method="DELETE"), timeout=120)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.9, "seed": 11}])
def test_a_session_without_a_prefix_is_one_long_call(group, sampling):
    """The same sinks and window as stateless calls have, so the same bits, far beyond the window."""
    options = sampling | {"max_tokens": 24, "ignore_eos": True, "return_token_ids": True}
    session = post(group, "/v1/sessions", {})["id"]
    tokens = []
    for turn in range(6):
        new = post(group, "/tokenize", {"prompt": f"At {turn} o'clock " + "it rained and " * 20,
                                        "add_special_tokens": turn == 0})["tokens"]
        said = post(group, "/v1/completions", options | {"session": session, "prompt": new})
        alone = post(group, "/v1/completions", options | {"prompt": tokens + new})
        assert said["choices"][0]["token_ids"] == alone["choices"][0]["token_ids"], turn
        tokens += new + said["choices"][0]["token_ids"]
    assert said["usage"]["session"]["evicted_tokens"] > 0
    urllib.request.urlopen(urllib.request.Request(f"{group.url}/v1/sessions/{session}", method="DELETE"), timeout=120)


def test_a_chat_is_what_its_template_makes_of_it(group):
    session = post(group, "/v1/sessions", {"instructions": "You are kind."})["id"]
    history = [{"role": "system", "content": "You are kind."}]
    options = {"temperature": 0, "max_tokens": 12}
    for text in ("Good evening, sir.", "Where were you born?", "And then?"):
        history.append({"role": "user", "content": text})
        said = post(group, "/v1/chat/completions", options | {"session": session, "messages": history[-1:]})
        history.append({"role": "assistant", "content": said["choices"][0]["message"]["content"]})
    rendered = post(group, "/tokenize", {"messages": history, "continue_final_message": True})["tokens"]
    kept = json.load(urllib.request.urlopen(f"{group.url}/v1/sessions/{session}/transcript", timeout=120))
    text = post(group, "/detokenize", {"tokens": rendered})["prompt"]
    assert kept["text"] == text
    urllib.request.urlopen(urllib.request.Request(f"{group.url}/v1/sessions/{session}", method="DELETE"), timeout=120)
