"""What a server computes of the golden checkpoints, as numbers that are compared bit for bit."""

import fnmatch
import itertools
import json
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from comparison.group import Group
from comparison.trees import PROJECT, WORK, Failed

GOLDEN = PROJECT / "tests/data/models"
MODES = ("dense", "window", "sink")
RANKS = (1, 2, 3, 4)
WEIGHTS = ("f32", "bf16")  # of weights and cache
GROUPS_AT_ONCE = 4  # they mostly wait for each other to start and end

KINDS = ("losses", "logprobs", "likeliest", "greedy", "seeded")  # the last three are tokens

PROMPT_TOKENS = 32
ANSWER_TOKENS = 48  # beyond the golden windows
SAMPLED = {
    "temperature": {"temperature": 1, "seed": 11},
    "top_p": {"temperature": 0.8, "top_p": 0.9, "seed": 12},
    "top_k, min_p": {"temperature": 1.2, "top_k": 20, "min_p": 0.02, "seed": 13},
    "penalties": {"temperature": 0.9, "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.25,
                  "logit_bias": {"7": 2, "100": -3}, "seed": 14},
}


class Case(NamedTuple):
    checkpoint: str
    mode: str
    ranks: int
    weights: str

    def __str__(self):
        return f"{self.checkpoint}/{self.mode}/{self.ranks}/{self.weights}"


def all_cases():
    checkpoints = sorted(path.name for path in GOLDEN.iterdir() if (path / "reference.json").is_file())
    return [case for case in itertools.starmap(Case, itertools.product(checkpoints, MODES, RANKS, WEIGHTS))
            if case.ranks <= num_heads(case.checkpoint)]


def num_heads(checkpoint):
    config = json.loads((GOLDEN / checkpoint / "config.json").read_text())
    return config.get("num_attention_heads") or config["n_heads"]


def with_tokenizer(checkpoint):
    """The golden checkpoint with the byte tokenizer that a server needs, and only one of them has."""
    directory = WORK / "models" / checkpoint
    shutil.copytree(GOLDEN / checkpoint, directory, dirs_exist_ok=True)
    shutil.copy(GOLDEN / "llama-gqa/tokenizer.json", directory)
    return directory


def settings_of(case, reference):
    settings = {
        "cache.mode": case.mode,
        "cache.type": case.weights,
        "cache.slots": 8,
        "cache.slack_tokens": 16,
        "engine.prefill_chunk": 13,  # divides nothing
        "model.weights": case.weights,
        "parallel.threads": 2 if case.ranks == 1 else 1,
    }
    if case.mode == "dense":
        return settings | {"cache.max_context": len(reference["input_ids"]) + ANSWER_TOKENS}
    window = reference[case.mode]
    return settings | {"cache.sink_tokens": window["sink_tokens"], "cache.window_tokens": window["window_tokens"]}


def exact(logprob):
    """The float32 that the server computed; servers print all of its digits."""
    if struct.unpack("<f", struct.pack("<f", logprob))[0] != logprob:
        raise Failed(f"the server prints {logprob!r}, which is no float32: it rounds, and bits can't be compared")
    return logprob


def of_prompt(choice):
    entries = choice["prompt_logprobs"][1:]
    tokens = choice["prompt_token_ids"][1:]
    return {
        ("losses", "prompt"): [-exact(entry[str(token)]["logprob"]) for entry, token in zip(entries, tokens, strict=True)],
        ("logprobs", "prompt"): [exact(one["logprob"]) for entry in entries for one in entry.values()],
        ("likeliest", "prompt"): [int(token) for entry in entries for token in entry],
    }


def of_answer(kind, name, choice):
    logprobs = choice["logprobs"]
    return {
        (kind, name): choice["token_ids"],
        ("logprobs", name): [exact(logprob) for logprob in logprobs["token_logprobs"]],
        ("logprobs", f"{name}, likeliest"): [exact(one) for top in logprobs["top_logprobs"] for one in top.values()],
    }


def outputs_of(stream_worker, case, checkpoint):
    """Lists of numbers by name."""
    reference = json.loads((checkpoint / "reference.json").read_text())
    text = reference["input_ids"]
    generate = {"prompt": text[:PROMPT_TOKENS], "max_tokens": ANSWER_TOKENS, "logprobs": 5, "ignore_eos": True,
                "return_token_ids": True}
    requests = {"prompt": {"prompt": text, "max_tokens": 0, "prompt_logprobs": 20, "return_token_ids": True},
                "greedy": generate | {"temperature": 0}}
    requests |= {name: generate | sampling | {"n": 2} for name, sampling in SAMPLED.items()}
    with Group(stream_worker, checkpoint, case.ranks, settings_of(case, reference)) as group:
        with ThreadPoolExecutor(len(requests)) as clients:  # all at once: no row's bits may depend on the others
            answers = dict(zip(requests, clients.map(lambda fields: json.loads(group.complete(**fields)), requests.values())))
    outputs = of_prompt(answers.pop("prompt")["choices"][0])
    for name, answer in answers.items():
        for choice in answer["choices"]:
            outputs |= of_answer("greedy" if name == "greedy" else "seeded", f"{name} {choice['index']}", choice)
    return outputs


class Difference(NamedTuple):
    differing: dict  # of each kind, how many numbers
    largest: float   # of losses and logprobs


def same_bits(before, after):
    return struct.pack("<d", before) == struct.pack("<d", after)  # -0.0 is not 0.0; float32 and token ids are exact in it


def difference(before, after):
    """What differs between two trees' outputs of one case."""
    differing, largest = dict.fromkeys(KINDS, 0), 0.0
    for output in before | after:
        old, new = before.get(output, []), after.get(output, [])
        pairs = [pair for pair in zip(old, new) if not same_bits(*pair)]
        differing[output[0]] += len(pairs) + abs(len(old) - len(new))
        if output[0] in ("losses", "logprobs"):
            largest = max([largest, *(abs(a - b) for a, b in pairs)])
    return Difference(differing, largest)


def reason_for(case, deliberate):
    return next((reason for pattern, reason in deliberate.items() if fnmatch.fnmatchcase(str(case), pattern)), None)


def judge(found, deliberate):
    """Prints a table of the cases that differ, of {case: Difference}; whether each has a reason, of {pattern: reason}."""
    unequal = {case: one for case, one in found.items() if any(one.differing.values())}
    if unequal:
        print(f"{'numbers that differ':34}{''.join(f'{kind:>11}' for kind in KINDS)}  largest difference")
    for case, one in unequal.items():
        reason = reason_for(case, deliberate)
        print(f"{str(case):34}{''.join(f'{one.differing[kind]:11,}' for kind in KINDS)}  {one.largest:.2e}"
              f"{f'  deliberate: {reason}' if reason else ''}")
    for pattern, reason in deliberate.items():
        if not any(fnmatch.fnmatchcase(str(case), pattern) for case in unequal):
            print(f"deliberate: {reason}: nothing differs in {pattern}")
    print(f"bits: {len(found) - len(unequal)} of {len(found)} cases equal")
    return all(reason_for(case, deliberate) for case in unequal)


def compare_bits(before, after, cases, deliberate):
    """Whether two stream-workers compute the same, but for what is deliberate."""
    checkpoints = {name: with_tokenizer(name) for name in {case.checkpoint for case in cases}}

    def compare(case):
        outputs = [outputs_of(worker, case, checkpoints[case.checkpoint]) for worker in (before, after)]
        return difference(*outputs), sum(map(len, outputs[0].values()))

    with ThreadPoolExecutor(GROUPS_AT_ONCE) as pool:
        results = list(pool.map(compare, cases))
    print(f"bits: {sum(count for _, count in results):,} numbers of {len(cases)} cases compared")
    return judge({case: one for case, (one, _) in zip(cases, results)}, deliberate)
