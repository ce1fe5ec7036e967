"""Two servers side by side: decoding, prefill and sixteen streams of a 1.1B Llama."""

import json
import math
import os
import random
import statistics
import struct
import time
from contextlib import ExitStack
from typing import NamedTuple

from comparison.bits import GOLDEN
from comparison.group import Group
from comparison.trees import WORK

# TinyLlama's shape.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
    "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": None,
}
THREADS_BY_RANKS = {1: 2, 2: 1}
SETTINGS = {"cache.window_tokens": 508, "cache.slack_tokens": 256, "engine.prefill_chunk": 256, "cache.slots": 16}


def shapes():
    hidden, inner, vocab = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    kv_size = hidden // CONFIG["num_attention_heads"] * CONFIG["num_key_value_heads"]
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(CONFIG["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv_size, hidden), "self_attn.v_proj": (kv_size, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner),
        }.items():
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def random_bfloat16(count, scale, generator):
    values = struct.pack(f"<{count}f", *(generator.gauss(0, scale) for _ in range(count)))
    return b"".join(values[i + 2 : i + 4] for i in range(0, len(values), 4))


def made_checkpoint():
    """2.2 GB, made once. The weights are random, but repeat: times do not depend on them."""
    directory = WORK / "models/llama-1.1b"
    file = directory / "model.safetensors"
    if file.exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (directory / "tokenizer.json").write_bytes((GOLDEN / "llama-gqa/tokenizer.json").read_bytes())
    header, offset = {}, 0
    for name, shape in shapes():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = random_bfloat16(1_000_003, 0.02, random.Random(1))
    ones = struct.pack("<H", 0x3F80)
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shapes():
            size = 2 * math.prod(shape)
            pattern = ones if len(shape) == 1 else block
            whole, rest = divmod(size, len(pattern))
            for _ in range(whole):
                out.write(pattern)
            out.write(pattern[:rest])
    unfinished.rename(file)
    return directory


class Work(NamedTuple):
    name: str
    tokens: int  # that the request costs
    request: dict


def some_tokens(count):
    return random.Random(count).choices(range(256), k=count)


WORKS = (
    Work("decode", 32, {"prompt": some_tokens(1), "max_tokens": 32, "temperature": 0}),
    Work("prefill", 256, {"prompt": some_tokens(256), "max_tokens": 1, "temperature": 0}),
    Work("16 streams", 16 * 16, {"prompt": [some_tokens(1)] * 16, "max_tokens": 16, "temperature": 0.8, "top_p": 0.9, "seed": 1}),
)


def tokens_per_second(group, work):
    begin = time.monotonic()
    group.complete(**work.request, stream=True, ignore_eos=True)
    return work.tokens / (time.monotonic() - begin)


class Result(NamedTuple):
    before: float  # tokens a second, medians
    after: float
    ratio: float   # median of the pairs' ratios: what slows the machine down for a while slows both of a pair


def summary(pairs):
    before, after = zip(*pairs)
    return Result(statistics.median(before), statistics.median(after), statistics.median(b / a for a, b in pairs))


def alternate(measure, runs):
    """Pairs of (before, after), of `measure(0)` and `measure(1)`; every other pair the other way round."""
    pairs = []
    for number in range(runs):
        pair = {side: measure(side) for side in ((0, 1) if number % 2 == 0 else (1, 0))}
        pairs.append((pair[0], pair[1]))
    return pairs


def compare_speed(before, after, runs, least_ratio):
    """Whether the second stream-worker is as fast as the first."""
    checkpoint = made_checkpoint()
    fine = True
    print(f"speed: medians of {runs} alternating runs, tokens a second; load of the machine before: {os.getloadavg()[0]:.1f}")
    for ranks, threads in THREADS_BY_RANKS.items():
        with ExitStack() as stack:
            groups = [stack.enter_context(Group(worker, checkpoint, ranks, SETTINGS | {"parallel.threads": threads}))
                      for worker in (before, after)]
            for group in groups:
                tokens_per_second(group, WORKS[1])  # warms up
            for work in WORKS:
                result = summary(alternate(lambda side: tokens_per_second(groups[side], work), runs))
                enough = result.ratio >= least_ratio
                fine = fine and enough
                print(f"{work.name}, {ranks} rank(s) of {threads} thread(s): {result.before:.2f} -> {result.after:.2f}, "
                      f"ratio {result.ratio:.3f}{'' if enough else f', below {least_ratio}'}", flush=True)
    return fine
