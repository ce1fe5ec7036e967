"""The server's own description of its API, /openapi.json: its answers are held against it, and schemathesis holds the
server against it. (The tests with the official client hold all of their answers against it too; see group.py.)"""

import json
import urllib.error
import urllib.request

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from schemathesis import checks

from api_description import ApiDescription
from group import PROJECT, Group

MESSAGES = [{"role": "user", "content": "Good evening, sir."}]
CHAT = {"messages": MESSAGES, "max_tokens": 4, "seed": 1}
TEXT = {"prompt": "It was a dark night, and", "max_tokens": 4, "seed": 1}
USAGE = {"include_usage": True, "continuous_usage_stats": True}


@pytest.fixture(scope="module")
def api(group):
    return ApiDescription.of(group.url)


def send(group, method, path, body=None):
    """Status, content type and bytes of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{group.url}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=120)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers["content-type"], answer.read()


def test_the_description_is_one(api):
    for name, schema in api.document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        api.check({}, name)
    assert api.document["openapi"] == "3.1.0"


ANSWERS = {
    "models": ("GET", "/v1/models", None, 200),
    "one model": ("GET", "/v1/models/demo", None, 200),
    "no such model": ("GET", "/v1/models/other", None, 404),
    "version": ("GET", "/version", None, 200),
    "tokenizer info": ("GET", "/tokenizer_info", None, 200),
    "description": ("GET", "/openapi.json", None, 200),
    "metrics": ("GET", "/metrics", None, 200),
    "page": ("GET", "/", None, 200),
    "health": ("GET", "/health", None, 200),
    "ready": ("GET", "/health/ready", None, 200),
    "live": ("GET", "/health/live", None, 200),
    "no such path": ("GET", "/nowhere", None, 404),
    "wrong method": ("GET", "/tokenize", None, 405),
    "tokenize": ("POST", "/tokenize", {"prompt": "x"}, 200),
    "tokenize messages": ("POST", "/tokenize", {"messages": MESSAGES, "return_token_strs": True}, 200),
    "tokenize nothing": ("POST", "/tokenize", {}, 400),
    "detokenize": ("POST", "/detokenize", {"tokens": [1, 2, 300]}, 200),
    "detokenize text": ("POST", "/detokenize", {"tokens": "x"}, 400),
    "chat": ("POST", "/v1/chat/completions", CHAT, 200),
    "chat with all": ("POST", "/v1/chat/completions",
                      CHAT | {"n": 2, "logprobs": True, "top_logprobs": 3, "prompt_logprobs": 2,
                              "return_token_ids": True, "truncation": "disabled"}, 200),
    "chat, bad": ("POST", "/v1/chat/completions", CHAT | {"temperature": 9}, 400),
    "chat, too long": ("POST", "/v1/chat/completions",
                       {"messages": [{"role": "user", "content": "no " * 999}], "truncation": "disabled"}, 400),
    "text": ("POST", "/v1/completions", TEXT, 200),
    "text with all": ("POST", "/v1/completions",
                      TEXT | {"n": 2, "logprobs": 3, "echo": True, "prompt_logprobs": 2, "return_token_ids": True}, 200),
    "text, scored": ("POST", "/v1/completions", TEXT | {"max_tokens": 0, "echo": True, "logprobs": 0}, 200),
    "text, bad": ("POST", "/v1/completions", {}, 400),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_are_as_described(group, api, kind):
    method, path, body, expected = ANSWERS[kind]
    status, content_type, answer = send(group, method, path, body)
    assert status == expected, answer
    api.check_answer(method, path, status, content_type, answer)


STREAMS = {
    "chat": ("/v1/chat/completions", CHAT, "ChatCompletionChunk"),
    "chat with all": ("/v1/chat/completions", CHAT | {"n": 2, "logprobs": True, "top_logprobs": 3,
                                                      "return_token_ids": True, "stream_options": USAGE},
                      "ChatCompletionChunk"),
    "text": ("/v1/completions", TEXT, "CompletionChunk"),
    "text with all": ("/v1/completions", TEXT | {"n": 2, "logprobs": 3, "echo": True, "return_token_ids": True,
                                                 "stream_options": USAGE}, "CompletionChunk"),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_are_as_described(group, api, kind):
    path, body, chunk = STREAMS[kind]
    status, content_type, answer = send(group, "POST", path, body | {"stream": True})
    assert (status, content_type) == (200, "text/event-stream")
    events = [line.removeprefix(b"data: ") for line in answer.splitlines() if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]" and events
    for event in events:
        api.check_chunk(chunk, json.loads(event))


def test_the_warning_that_an_answer_carries_is_described(group, api):
    path, body = "/v1/completions", {"prompt": [300, 301], "max_tokens": 2}  # without the model's first token
    request = urllib.request.Request(f"{group.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        given = {name.lower() for name in answer.headers} & {"x-sinkstream-warning"}
    assert given
    for warned in [path, "/v1/chat/completions", "/tokenize"]:
        assert given <= api.document["paths"][warned]["post"]["responses"]["200"]["headers"].keys()


def test_what_is_not_described_is_noticed(api):
    version = json.dumps({"version": "1"}).encode()
    api.check_answer("GET", "/version", 200, "application/json", version)
    for answer in [(200, "text/plain", version), (204, "application/json", version),
                   (200, "application/json", b"{}"), (200, "application/json", b'{"version": "1", "more": 2}')]:
        with pytest.raises(AssertionError):
            api.check_answer("GET", "/version", *answer)


# The document as the server gives it, but for the version.
schema = schemathesis.openapi.from_path(PROJECT / "coordinator/api/endpoints/openapi.json")


def test_the_servers_description_is_the_projects(api):
    here = json.loads((PROJECT / "coordinator/api/endpoints/openapi.json").read_text())
    assert api.document["info"].pop("version") and here["info"].pop("version")
    assert api.document == here


@pytest.fixture(scope="module")
def brief():
    """For schemathesis, a server whose answers are short."""
    with Group("engine.default_max_tokens=8", "engine.max_tokens=64") as group:
        yield group.wait_until_listening()


@schema.parametrize()
@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
def test_schemathesis(case, brief):
    case.call_and_validate(base_url=brief.url, checks=[
        checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance, checks.response_headers_conformance, checks.negative_data_rejection,
        checks.unsupported_method])
