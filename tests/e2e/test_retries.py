"""Whoever tries again gets the answer, and nothing is done twice: with real ranks, a client that retries as the
official one does, and that one itself."""

import http.client
import json
import re
import signal
import urllib.parse
import urllib.request

import openai
import pytest

from group import Group, wait_until
from retrying_client import CuttingProxy, GaveUp, RetryingClient

OPTIONS = {"temperature": 0.9, "seed": 7, "max_tokens": 60, "ignore_eos": True}
PROMPTS = ["The fog lay on the moor. " * 3, " Then, at midnight, ", " At last "]


def get(group, path):
    with urllib.request.urlopen(f"{group.url}{path}", timeout=120) as answer:
        return json.load(answer)


def delete(group, session):
    request = urllib.request.Request(f"{group.url}/v1/sessions/{session}", method="DELETE")
    urllib.request.urlopen(request, timeout=120).close()


def no_wait(_seconds, _answer):
    pass


def metric(group, name):
    with urllib.request.urlopen(f"{group.url}/metrics", timeout=120) as answer:
        return float(re.search(rf"^sinkstream_{name} (\S+)$", answer.read().decode(), re.MULTILINE).group(1))


def texts(answer):
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        return "".join(event["choices"][0]["text"] for event in answer.events())
    return answer.json()["choices"][0]["text"]


@pytest.fixture(scope="module")
def undisturbed(group):
    """What a session says whose connections hold: the texts of its turns, and its transcript."""
    client = RetryingClient(group.url, max_retries=0)
    session = client.post("/v1/sessions", {}).json()["id"]
    said = [texts(client.post("/v1/completions", OPTIONS | {"session": session, "prompt": prompt})) for prompt in PROMPTS]
    transcript = get(group, f"/v1/sessions/{session}/transcript")
    delete(group, session)
    return said, transcript["tokens"]


def turn_of(session, way, seen, number):
    """Its body and headers."""
    body = OPTIONS | {"session": session, "prompt": PROMPTS[number]}
    if way == "expected_seen":
        return body | {"expected_seen": seen}, {}
    return body, {"Idempotency-Key": f"{session} {number}"}


@pytest.mark.parametrize("way", ["key", "expected_seen"])
@pytest.mark.parametrize("stream", [True, False])
def test_what_was_cut_is_given_whole(group, undisturbed, way, stream):
    """Twice: in the answer's head, and in its middle."""
    with CuttingProxy(group.url) as proxy:
        client = RetryingClient(proxy.url, wait=no_wait)
        session = client.post("/v1/sessions", {}).json()["id"]
        seen, said = 0, []
        for number in range(len(PROMPTS)):
            body, headers = turn_of(session, way, seen, number)
            if stream:
                proxy.cuts = [100, 4000]
                answer = client.post("/v1/completions", body | {"stream": True}, headers)
            else:
                # Out of patience twice, while the turn is under way or when it has just ended.
                def lose_patience(attempt, seen=seen):
                    if attempt < 2 and wait_until(lambda: get(group, f"/v1/sessions/{session}")["seen_tokens"] > seen):
                        raise GaveUp

                answer = client.post("/v1/completions", body, headers, lose_patience)
            assert answer.status == 200, answer.body
            assert answer.headers["Idempotent-Replayed"] == "true"
            said.append(texts(answer))
            shown = get(group, f"/v1/sessions/{session}")
            assert shown["status"] == "idle"
            seen = shown["seen_tokens"]
        assert (said, get(group, f"/v1/sessions/{session}/transcript")["tokens"]) == undisturbed
        delete(group, session)


def test_a_lost_answer_does_not_make_a_second_session(group):
    with CuttingProxy(group.url) as proxy:
        client = RetryingClient(proxy.url, wait=no_wait)
        before = len(get(group, "/v1/sessions")["data"])
        proxy.cuts = [10, 200]
        key = {"Idempotency-Key": "one session"}
        made = client.post("/v1/sessions", {"instructions": "Be kind."}, key).json()
        proxy.cuts = [10, 200]
        taken_in = client.post(f"/v1/sessions/{made['id']}/append", {"prompt": "once"}, {"Idempotency-Key": "one append"}).json()
        proxy.cuts = [10, 200]
        fork = client.post(f"/v1/sessions/{made['id']}/fork", {}, {"Idempotency-Key": "one fork"}).json()
        assert len(get(group, "/v1/sessions")["data"]) == before + 2
        assert get(group, f"/v1/sessions/{made['id']}")["seen_tokens"] == taken_in["seen_tokens"] == fork["seen_tokens"]
        for session in (made["id"], fork["id"]):
            delete(group, session)


def test_the_official_client_need_not_know(group, undisturbed):
    """Only `session` is added to what it sends; it waits half a second before it tries again. The answer is so long that
    it cannot end before its connection is cut."""
    (text, *_), tokens = undisturbed
    options = OPTIONS | {"max_tokens": 500, "prompt": PROMPTS[0], "model": "demo"}
    extra = {"ignore_eos": options.pop("ignore_eos")}
    with CuttingProxy(group.url) as proxy, openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none") as client:
        session = extra["session"] = RetryingClient(group.url).post("/v1/sessions", {}).json()["id"]
        proxy.cuts = [lambda: wait_until(lambda: get(group, f"/v1/sessions/{session}")["seen_tokens"] > 0)]
        answer = client.completions.with_raw_response.create(extra_body=extra, **options)
        assert answer.headers["Idempotent-Replayed"] == "true"
        assert answer.parse().choices[0].text.startswith(text)
        transcript = get(group, f"/v1/sessions/{session}/transcript")["tokens"]
        assert transcript[:60] == tokens[:60]
        assert len(transcript) == answer.parse().usage.prompt_tokens + 500, "it was taken in once"
        delete(group, session)


class Stream:
    """An answer without an end, of which nobody reads more than its beginning."""

    def __init__(self, group):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(group.url).netloc, timeout=120)
        body = {"prompt": "Once", "max_tokens": 1000000, "stream": True, "ignore_eos": True}
        self.connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.response.read(1)

    def close(self):
        self.response.close()
        self.connection.close()


def test_a_full_and_an_ending_server_are_tried_again():
    waits = []
    with Group("cache.slots=2", "engine.max_queue=0", "parallel.threads=1", num_ranks=1) as group:
        group.wait_until_listening()
        client = RetryingClient(group.url)
        session = client.post("/v1/sessions", {}, {"Idempotency-Key": "first"}).json()["id"]
        streams = [Stream(group), Stream(group)]

        def make_room(seconds, answer):
            waits.append((answer.status, seconds))
            streams.pop().close()
            assert wait_until(lambda: metric(group, "requests_running") == 1)

        client.wait = make_room
        body = OPTIONS | {"session": session, "prompt": "Once", "expected_seen": 0}
        answer = client.post("/v1/completions", body, {"Idempotency-Key": "second"})
        assert answer.status == 200 and not answer.headers["Idempotent-Replayed"], answer.body

        group.launcher.send_signal(signal.SIGUSR1)  # it ends when its last stream has
        with Group("parallel.threads=1", num_ranks=1) as successor:

            def end(seconds, answer):
                waits.append((answer.status, seconds))
                streams.pop().close()
                assert group.wait() == 0
                client.url = successor.wait_until_listening().url

            client.wait = end
            impatient = RetryingClient(group.url, max_retries=0)
            assert wait_until(lambda: impatient.post("/v1/completions", {"prompt": "x"}).status == 503)
            answer = client.post("/v1/sessions", {}, {"Idempotency-Key": "third"})
            assert answer.status == 200, answer.body
    assert waits == [(429, 2.0), (503, 5.0)], "as Retry-After says"
