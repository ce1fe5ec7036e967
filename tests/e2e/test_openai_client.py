"""The official client against a real group of two ranks."""

import json
import statistics
import threading
import time
import urllib.request

import openai
import pytest

from group import Group, wait_until
from novels import read_novel

QUESTION = [{"role": "user", "content": "Good evening, sir. Where have you been?"}]


def ask(client, **options):
    options = {"messages": QUESTION, "max_tokens": 40, "seed": 7, **options}
    return client.chat.completions.create(model="demo", **options)


def complete(client, prompt="It was a dark night, and", **options):
    options = {"max_tokens": 40, "seed": 7, **options}
    return client.completions.create(model="demo", prompt=prompt, **options)


def session_of(usage):
    return usage.model_extra["session"]


def streamed_text(chunks, index=0):
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


# ---- Chat ----


def test_chat_answers(client):
    answer = ask(client)
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "demo"
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")


def test_usage_adds_up_and_says_what_the_session_keeps(client):
    usage = ask(client).usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    session = session_of(usage)
    assert session["evicted_tokens"] == 0
    assert session["resident_tokens"] == session["seen_tokens"]
    assert usage.prompt_tokens < session["seen_tokens"] <= usage.total_tokens
    assert session["pinned_tokens"] == 4


def test_streamed_chat_says_the_same_as_a_whole_answer(client):
    whole = ask(client)
    chunks = list(ask(client, stream=True))
    assert streamed_text(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.role for c in chunks[1:]] == [None] * (len(chunks) - 1)
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1


def test_stream_ends_with_usage_when_asked(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    whole = ask(client).usage
    assert chunks[-1].usage.completion_tokens == whole.completion_tokens
    assert session_of(chunks[-1].usage) == session_of(whole)


def test_stream_helper_of_the_client_accepts_the_stream(client):
    with client.chat.completions.stream(model="demo", messages=QUESTION, max_tokens=20, seed=7) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].message.content == ask(client, max_tokens=20).choices[0].message.content


def test_several_choices_differ(client):
    choices = ask(client, n=2).choices
    assert [choice.index for choice in choices] == [0, 1]
    assert choices[0].message.content != choices[1].message.content


def test_several_choices_stream_side_by_side(client):
    whole = [choice.message.content for choice in ask(client, n=2).choices]
    chunks = list(ask(client, n=2, stream=True))
    assert [chunk.choices[0].index for chunk in chunks[:2]] == [0, 1]  # the client wants them to appear in order
    assert [streamed_text(chunks, 0), streamed_text(chunks, 1)] == whole


def test_chat_logprobs(client):
    choice = ask(client, temperature=0, logprobs=True, top_logprobs=3).choices[0]
    content = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in content).decode() == choice.message.content
    for token in content:
        alternatives = [other.logprob for other in token.top_logprobs]
        assert len(alternatives) == 3
        assert alternatives == sorted(alternatives, reverse=True)
        assert token.logprob == alternatives[0] <= 0  # temperature 0 takes the likeliest
        assert token.token == token.top_logprobs[0].token


def test_same_seed_same_text(client):
    first, second = (ask(client, temperature=1).choices[0].message.content for _ in range(2))
    other = ask(client, temperature=1, seed=8).choices[0].message.content
    assert first == second != other


def test_stop_string_ends_the_text_and_is_not_in_it(client):
    text = complete(client, temperature=0).choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 5]
    choice = complete(client, temperature=0, stop=[stop, "never to be met"]).choices[0]
    assert choice.text == text[:text.index(stop)]
    assert choice.finish_reason == "stop"
    streamed = complete(client, temperature=0, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == choice.text


# The tokens that carry no text are counted: a stop that is not noticed would leave all six.
@pytest.mark.parametrize("stop", ["<|user|>", "<|user|><|user|>"])
def test_special_token_as_a_stop_string(client, stop):
    user = 2
    answer = complete(client, "It was", max_tokens=6, stop=[stop], logit_bias={str(user): 100}, temperature=0)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].text == ""
    assert answer.usage.completion_tokens == stop.count("<|user|>")
    shown = complete(client, "It was", max_tokens=2, logit_bias={str(user): 100}, temperature=0,
                     extra_body={"skip_special_tokens": False})
    assert shown.choices[0].text == "<|user|><|user|>"


def test_min_tokens_holds_the_end_token_back(client):
    end = client.models.retrieve("demo").model_extra["meta"]["end_tokens"][0]
    bias = {str(end): 100}
    assert complete(client, logit_bias=bias).choices[0].text == ""
    answer = complete(client, logit_bias=bias, extra_body={"min_tokens": 5})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (5, "stop")


def test_prompt_logprobs_are_those_of_an_echo(client):
    echo = complete(client, echo=True, logprobs=2, max_tokens=0).choices[0].logprobs
    answer = complete(client, max_tokens=1, extra_body={"prompt_logprobs": 2, "return_token_ids": True}).choices[0]
    listed, ids = answer.model_extra["prompt_logprobs"], answer.model_extra["prompt_token_ids"]
    assert listed[0] is None
    assert [entry[str(token)]["logprob"] for token, entry in zip(ids[1:], listed[1:])] == echo.token_logprobs[1:]
    for token, entry in zip(ids[1:], listed[1:]):
        best = sorted(entry.values(), key=lambda one: one["rank"])
        assert [one["rank"] for one in best[:2]] == [1, 2]
        assert [one["logprob"] for one in best] == sorted((one["logprob"] for one in best), reverse=True)
        assert len(entry) == (2 if entry[str(token)]["rank"] <= 2 else 3)


# ---- Completions ----


def test_completion_streams_the_same_text(client):
    whole = complete(client).choices[0]
    chunks = list(complete(client, stream=True))
    assert whole.text
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def test_several_prompts_answer_in_order(client):
    prompts = ["It was a dark night, and", "The carriage stopped before"]
    choices = complete(client, prompts, temperature=0).choices
    assert [choice.index for choice in choices] == [0, 1]
    assert [choice.text for choice in choices] == [complete(client, p, temperature=0).choices[0].text for p in prompts]


def test_prompt_may_be_token_ids(client):
    prompt = "It was a dark night, and"
    answer = complete(client, prompt, extra_body={"return_token_ids": True}).choices[0]
    ids = answer.model_extra["prompt_token_ids"]
    assert complete(client, ids).choices[0].text == answer.text


def test_ignoring_the_end_token_fills_the_length(client):
    choice = complete(client, max_tokens=300, extra_body={"ignore_eos": True})
    assert choice.choices[0].finish_reason == "length"
    assert choice.usage.completion_tokens == 300
    assert session_of(choice.usage)["evicted_tokens"] > 0


# ---- Prompts far longer than the window ----


def prompt_logprobs(client, text):
    answer = complete(client, text, echo=True, logprobs=1, max_tokens=0)
    choice = answer.choices[0]
    assert choice.text == text
    logprobs = choice.logprobs
    assert len(logprobs.token_logprobs) == len(logprobs.tokens) == answer.usage.prompt_tokens
    assert logprobs.token_logprobs[0] is None
    return answer, logprobs.token_logprobs


def mean_nll(token_logprobs, begin=1024):
    rest = token_logprobs[begin:]
    return -sum(rest) / len(rest)


def test_long_prompt_has_exact_logprobs_throughout(client):
    answer, token_logprobs = prompt_logprobs(client, read_novel("Doyle_Hound_1902", 20000))
    session = session_of(answer.usage)
    assert session["seen_tokens"] == answer.usage.prompt_tokens > 4000
    assert session["resident_tokens"] == 256
    assert session["evicted_tokens"] == session["seen_tokens"] - 256
    assert mean_nll(token_logprobs) < 4.3  # the model stays as good as within its first window


def test_without_sinks_a_long_prompt_falls_apart():
    with Group("cache.mode=window", "cache.window_tokens=256") as group:
        client = group.wait_until_listening().connect()
        _, token_logprobs = prompt_logprobs(client, read_novel("Doyle_Hound_1902", 12000))
        assert mean_nll(token_logprobs) > 5.5


def test_long_chat_is_answered_and_says_what_it_forgot(client):
    history = [{"role": "user", "content": read_novel("Haggard_Mines_1885", 8000)}]
    usage = ask(client, messages=history).usage
    assert session_of(usage)["evicted_tokens"] > 1000


# ---- Errors ----


@pytest.mark.parametrize("options, name", [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": "Hm"}]}, "messages"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logit_bias": {"999999": 1}}, "logit_bias"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
])
def test_bad_requests_are_refused_by_name(client, options, name):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **options)
    assert caught.value.type == "invalid_request_error"
    assert name in (caught.value.param or "")
    assert caught.value.request_id
    assert ask(client, max_tokens=1).choices


SAMPLING_EXTREMES = {
    "temperature": (0, 1e-50, 1e-45, 1e-40, 2),
    "top_p": (1e-50, 1e-45, 1e-38, 1),
    "min_p": (0, 1e-50, 1e-40, 1),
    "top_k": (-1, 0, 1, 2**31 - 1),
    "repetition_penalty": (0.01, 2),
    "repeat_last_n": (-1, 0, 1, 65536),
    "presence_penalty": (-2, 1e-50, 2),
    "frequency_penalty": (-2, 1e-50, 2),
    "logit_bias": ({"5": -100, "6": 100}, {"5": 1e-50}),
    "seed": (-2**63, 2**63 - 1),
}


def test_no_extreme_of_a_sampling_parameter_hurts_the_group(client):
    def complete_with(**sampling):
        answer = complete(client, max_tokens=4, extra_body={"ignore_eos": True, "temperature": 1, **sampling})
        assert answer.usage.completion_tokens == 4

    before = ask(client).choices[0].message.content
    for name, values in SAMPLING_EXTREMES.items():
        for value in values:
            complete_with(**{name: value})
    for extreme in (0, -1):
        complete_with(**{name: values[extreme] for name, values in SAMPLING_EXTREMES.items()})
    smallest = {name: 1e-50 for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty")}
    complete_with(**smallest, repetition_penalty=0.01, top_k=2**31 - 1)
    assert ask(client).choices[0].message.content == before


def test_without_truncation_an_answer_ends_when_the_window_is_full(client):
    answer = complete(client, max_tokens=1000, extra_body={"ignore_eos": True, "truncation": "disabled"})
    assert answer.choices[0].finish_reason == "length"
    assert session_of(answer.usage)["seen_tokens"] == session_of(answer.usage)["resident_tokens"] == 256
    assert session_of(answer.usage)["evicted_tokens"] == 0


def test_error_of_a_streamed_request_comes_before_the_stream(client):
    with pytest.raises(openai.BadRequestError):
        ask(client, stream=True, temperature=3)


def test_unknown_model_and_route(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="another", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.get("/nowhere", cast_to=object)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").object == "model"


# ---- Coming and going ----


def metric(group, name):
    """The sum of a metric over its labels."""
    text = group.connect().get("../metrics", cast_to=str)
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    assert values, f"{name} is not among the metrics"
    return sum(map(float, values))


def endless_stream(client):
    return ask(client, stream=True, max_tokens=100000, extra_body={"ignore_eos": True})


def test_closing_a_stream_ends_its_generation(group, client):
    stream = endless_stream(client)
    for _ in range(5):
        next(stream)
    assert metric(group, "sinkstream_requests_running") == 1
    stream.close()
    assert wait_until(lambda: metric(group, "sinkstream_requests_running") == 0)


def test_large_requests_keep_nobody_waiting(group, client):
    body = json.dumps({"prompt": (read_novel("Doyle_Hound_1902", 300000) * 50)[:15_000_000]}).encode()
    request = urllib.request.Request(f"{group.url}/tokenize", body, {"Content-Type": "application/json"})
    large_seconds = []

    def tokenize():
        begin = time.monotonic()
        urllib.request.urlopen(request).read()
        large_seconds.append(time.monotonic() - begin)

    large = [threading.Thread(target=tokenize) for _ in range(4)]
    for thread in large:
        thread.start()
    small_seconds = []
    while any(thread.is_alive() for thread in large):
        begin = time.monotonic()
        complete(client, max_tokens=1)
        small_seconds.append(time.monotonic() - begin)
    # The median, for what else this machine does; were they behind large ones, each would take as long.
    assert statistics.median(small_seconds) < min(large_seconds) / 4


def test_full_queue_is_refused_and_nothing_running_suffers():
    with Group("cache.slots=1", "engine.max_queue=1") as group:
        client = group.wait_until_listening().connect()
        running = endless_stream(client)
        next(running)
        waiting = endless_stream(client)  # its headers come at once, its text when there is a slot
        assert wait_until(lambda: metric(group, "sinkstream_requests_waiting") == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        for _ in range(20):
            assert next(running).choices[0].finish_reason is None
        running.close()
        for _ in range(5):
            next(waiting)
        waiting.close()
        assert wait_until(lambda: metric(group, "sinkstream_requests_running") == 0)
        assert ask(client).choices
