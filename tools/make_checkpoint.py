#!/usr/bin/env python3
"""Makes a small random Llama checkpoint with exact references, or checks the references of one.

    make_checkpoint.py OUT --layers 80 --heads 64 --kv-heads 8 ...
    make_checkpoint.py --verify DIRECTORY

The references (reference.json) are computed in float64, one token at a time, by the rule itself: a list of the kept
keys and values, the oldest beyond the sinks dropped, and every kept key rotated anew at its place in the list.
Needs numpy.
"""
import argparse
import json
import math
import pathlib
import struct
import sys

import numpy as np

DENSE_TOKENS = 96  # as far as the dense reference goes, at most
NLL_TOLERANCE = 2e-3


# ---- safetensors ----------------------------------------------------------------------------------------------------


def to_bfloat16(values):
    """The upper halves of float32, rounded to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


ENCODE = {
    "f32": ("F32", lambda values: values.astype("<f4")),
    "f16": ("F16", lambda values: values.astype("<f2")),
    "bf16": ("BF16", to_bfloat16),
}
DECODE = {
    "F32": lambda data: np.frombuffer(data, "<f4").astype(np.float64),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float64),
    "BF16": lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64),
}


def write_safetensors(path, tensors, dtype):
    type_name, encode = ENCODE[dtype]
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        blob = encode(values).tobytes()
        header[name] = {"dtype": type_name, "shape": list(values.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return offset


def read_safetensors(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data, tensors = json.loads(content[8 : 8 + length]), memoryview(content)[8 + length :], {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = DECODE[entry["dtype"]](data[begin:end]).reshape(entry["shape"])
    return tensors


# ---- the checkpoint -------------------------------------------------------------------------------------------------


def make_config(args):
    rope = {"rope_theta": args.rope_theta, **(args.rope_scaling or {"rope_type": "default"})}
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": args.attention_bias,
        "bos_token_id": None,
        "dtype": {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[args.dtype],
        "eos_token_id": None,
        "head_dim": args.head_dim,
        "hidden_act": "silu",
        "hidden_size": args.hidden,
        "intermediate_size": args.intermediate,
        "max_position_embeddings": args.context,
        "mlp_bias": args.mlp_bias,
        "model_type": "llama",
        "num_attention_heads": args.heads,
        "num_hidden_layers": args.layers,
        "num_key_value_heads": args.kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_parameters": rope,
        "tie_word_embeddings": args.tie,
        "vocab_size": args.vocab,
    }


def random_weights(config, seed):
    """Every layer's output has a variance near 1/layers, so that rounding errors do not grow with the depth."""
    random = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    q_size = config["num_attention_heads"] * config["head_dim"]
    kv_size = config["num_key_value_heads"] * config["head_dim"]
    residual_scale = 1 / math.sqrt(2 * config["num_hidden_layers"])
    tensors = {}

    def linear(name, out_features, in_features, bias, scale=1.0):
        tensors[name + ".weight"] = random.normal(size=(out_features, in_features)) * scale / math.sqrt(in_features)
        if bias:
            tensors[name + ".bias"] = random.normal(size=out_features) * scale / 4

    def norm(name):
        tensors[name + ".weight"] = 1 + random.normal(size=hidden) / 8

    tensors["model.embed_tokens.weight"] = random.normal(size=(config["vocab_size"], hidden))
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}."
        norm(layer + "input_layernorm")
        for part, size in (("q", q_size), ("k", kv_size), ("v", kv_size)):
            linear(f"{layer}self_attn.{part}_proj", size, hidden, config["attention_bias"])
        linear(layer + "self_attn.o_proj", hidden, q_size, config["attention_bias"], residual_scale)
        norm(layer + "post_attention_layernorm")
        linear(layer + "mlp.gate_proj", inner, hidden, config["mlp_bias"])
        linear(layer + "mlp.up_proj", inner, hidden, config["mlp_bias"])
        linear(layer + "mlp.down_proj", hidden, inner, config["mlp_bias"], residual_scale)
    norm("model.norm")
    if not config["tie_word_embeddings"]:
        linear("lm_head", config["vocab_size"], hidden, False, 2.0)
    return tensors


def write_checkpoint(directory, config, tensors, dtype, shards):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors, dtype)
        return
    names, weight_map, total = list(tensors), {}, 0
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        total += write_safetensors(directory / file, {name: tensors[name] for name in mine}, dtype)
        weight_map.update(dict.fromkeys(mine, file))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def read_checkpoint(directory):
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    return json.loads((directory / "config.json").read_text()), tensors


def byte_tokenizer():
    """A tokenizer.json whose tokens are the 256 bytes, in byte-level BPE's spelling."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelling = {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "add_prefix_space": False},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {spelling[byte]: byte for byte in range(256)},
            "merges": [],
        },
    }


# ---- the reference --------------------------------------------------------------------------------------------------


def inverse_frequencies(config):
    """In float32, as transformers computes them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    exponents = np.arange(0, config["head_dim"], 2, dtype=np.float32) / np.float32(config["head_dim"])
    frequencies = np.float32(1) / np.power(np.float32(theta), exponents)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        frequencies = frequencies / np.float32(rope["factor"])
    elif kind == "llama3":
        low, high = np.float32(rope["low_freq_factor"]), np.float32(rope["high_freq_factor"])
        trained, factor = np.float32(rope["original_max_position_embeddings"]), np.float32(rope["factor"])
        wavelengths = np.float32(2 * math.pi) / frequencies
        smooth = (trained / wavelengths - low) / (high - low)
        between = (1 - smooth) * frequencies / factor + smooth * frequencies
        stretched = np.where(wavelengths > trained / low, frequencies / factor, between)
        frequencies = np.where(wavelengths < trained / high, frequencies, stretched)
    elif kind != "default":
        sys.exit(f"rope type {kind!r} is not supported")
    return frequencies.astype(np.float64)


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x) + epsilon) * weight


def rotate(x, places, frequencies):
    """x [n, heads, head_dim], each of the n at its own place."""
    angles = np.multiply.outer(places, frequencies)[:, None, :]
    cosines, sines = np.cos(angles), np.sin(angles)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


class Session:
    """One text, fed token by token; sinks and window None: everything is kept (dense)."""

    def __init__(self, config, tensors, sinks=None, window=None):
        self.config, self.tensors, self.sinks, self.window = config, tensors, sinks, window
        self.frequencies = inverse_frequencies(config)
        self.kept = [([], []) for _ in range(config["num_hidden_layers"])]  # keys (not rotated) and values

    def linear(self, name, x):
        y = self.tensors[name + ".weight"] @ x
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def attention(self, index, x):
        config, name = self.config, f"model.layers.{index}.self_attn."
        head_dim, kv_heads = config["head_dim"], config["num_key_value_heads"]
        group = config["num_attention_heads"] // kv_heads
        keys, values = self.kept[index]
        keys.append(self.linear(name + "k_proj", x).reshape(kv_heads, head_dim))
        values.append(self.linear(name + "v_proj", x).reshape(kv_heads, head_dim))
        if self.window is not None and len(keys) > self.sinks + self.window:
            del keys[self.sinks], values[self.sinks]

        places = np.arange(len(keys))
        query = self.linear(name + "q_proj", x).reshape(1, -1, head_dim)
        query = rotate(query, places[-1:], self.frequencies)[0].reshape(kv_heads, group, head_dim)
        rotated = rotate(np.array(keys), places, self.frequencies)  # [n, kv_heads, head_dim]
        scores = query @ rotated.transpose(1, 2, 0) / math.sqrt(head_dim)  # [kv_heads, group, n]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = weights @ np.array(values).transpose(1, 0, 2)  # [kv_heads, group, head_dim]
        return self.linear(name + "o_proj", mixed.reshape(-1))

    def mlp(self, index, x):
        name = f"model.layers.{index}.mlp."
        gate = self.linear(name + "gate_proj", x)
        return self.linear(name + "down_proj", gate / (1 + np.exp(-gate)) * self.linear(name + "up_proj", x))

    def feed(self, token):
        """Takes in one token; returns the logits of the next."""
        norm = lambda name, x: rms_norm(x, self.tensors[name + ".weight"], self.config["rms_norm_eps"])
        x = self.tensors["model.embed_tokens.weight"][token]
        for index in range(self.config["num_hidden_layers"]):
            x = x + self.attention(index, norm(f"model.layers.{index}.input_layernorm", x))
            x = x + self.mlp(index, norm(f"model.layers.{index}.post_attention_layernorm", x))
        head = "model.embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"
        return self.tensors[head] @ norm("model.norm", x)


def score(session, tokens):
    """Negative log-likelihood of each token but the first, and the logits after the last."""
    nll = []
    for position, token in enumerate(tokens):
        logits = session.feed(token)
        if position + 1 < len(tokens):
            top = logits.max()
            nll.append(top + math.log(np.exp(logits - top).sum()) - logits[tokens[position + 1]])
    return {"last_logits": logits.tolist(), "nll": [float(value) for value in nll]}


def generate(session, prompt, length):
    """Greedy tokens, the prompt's first; and by how much the closest choice was decided."""
    tokens, margin = list(prompt), math.inf
    for token in prompt:
        logits = session.feed(token)
    while True:
        second, first = np.sort(logits)[-2:]
        margin = min(margin, first - second)
        tokens.append(int(np.argmax(logits)))
        if len(tokens) == length:
            return tokens, float(margin)
        logits = session.feed(tokens[-1])


def make_reference(config, tensors, tokens, sinks, window, greedy):
    dense_tokens, dense_prompt = min(DENSE_TOKENS, len(tokens)), min(16, len(tokens))
    scored = score(Session(config, tensors), tokens[:dense_tokens])
    generated, margin = generate(Session(config, tensors), tokens[:dense_prompt], dense_prompt + greedy)
    reference = {
        "input_ids": tokens,
        "dense": {"tokens": dense_tokens, **scored},
        "greedy": {"prompt": dense_prompt, "tokens": generated},
    }
    for name, mode in (("sink", (sinks, window)), ("window", (0, sinks + window))):
        prompt = min(28, len(tokens))
        generated, mode_margin = generate(Session(config, tensors, *mode), tokens[:prompt], prompt + greedy)
        margin = min(margin, mode_margin)
        reference[name] = {
            "sink_tokens": mode[0],
            "window_tokens": mode[1],
            **score(Session(config, tensors, *mode), tokens),
            "greedy_prompt": prompt,
            "greedy_tokens": generated,
        }
    return reference, margin


def verify(directory):
    config, tensors = read_checkpoint(directory)
    reference = json.loads((directory / "reference.json").read_text())
    wrong = False

    def compare(name, expected, tokens, prompt, greedy_tokens):
        nonlocal wrong
        mode = (expected.get("sink_tokens"), expected.get("window_tokens"))
        scored = score(Session(config, tensors, *mode), reference["input_ids"][:tokens])
        generated, _ = generate(Session(config, tensors, *mode), reference["input_ids"][:prompt], len(greedy_tokens))
        nll = np.abs(np.subtract(scored["nll"], expected["nll"])).max()
        logits = np.abs(np.subtract(scored["last_logits"], expected["last_logits"])).max()
        same = generated == greedy_tokens
        print(f"{name}: NLL within {nll:.1e}, last logits within {logits:.1e}, "
              f"greedy tokens {'equal' if same else 'DIFFER'}")
        wrong = wrong or not same or not nll <= NLL_TOLERANCE

    greedy = reference["greedy"]
    compare("dense", reference["dense"], reference["dense"]["tokens"], greedy["prompt"], greedy["tokens"])
    for name in ("window", "sink"):
        mode = reference[name]
        compare(name, mode, len(reference["input_ids"]), mode["greedy_prompt"], mode["greedy_tokens"])
    sys.exit(1 if wrong else 0)


# ---- command line ---------------------------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=pathlib.Path, help="directory to write")
    parser.add_argument("--verify", type=pathlib.Path, metavar="DIRECTORY", help="recompute a checkpoint's references")
    for name, default in (("layers", 3), ("hidden", 64), ("heads", 8), ("kv-heads", 2), ("head-dim", 8),
                          ("intermediate", 176), ("vocab", 256), ("context", 512), ("shards", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--dtype", choices=sorted(ENCODE), default="bf16", help="default bf16")
    parser.add_argument("--rope-theta", type=float, default=10000.0, help="default 10000")
    parser.add_argument("--rope-scaling", type=json.loads, metavar="JSON",
                        help='such as {"rope_type": "linear", "factor": 4}')
    parser.add_argument("--attention-bias", action="store_true")
    parser.add_argument("--mlp-bias", action="store_true")
    parser.add_argument("--tie", action="store_true", help="the LM head is the embedding")
    parser.add_argument("--tokenizer", action="store_true", help="also write a byte-level tokenizer.json")
    parser.add_argument("--tokens", type=int, default=200, help="length of the scored text; 0: no references")
    parser.add_argument("--greedy", type=int, default=40, help="greedy tokens of each mode")
    parser.add_argument("--sinks", type=int, default=4)
    parser.add_argument("--window", type=int, default=28)
    args = parser.parse_args()
    if (args.output is None) == (args.verify is None):
        parser.error("give an output directory or --verify")
    if args.heads % args.kv_heads or args.head_dim % 2:
        parser.error("--kv-heads must divide --heads, and --head-dim be even")
    if args.tokenizer and args.vocab != 256:
        parser.error("--tokenizer needs --vocab 256")
    return args


def main():
    args = parse_arguments()
    if args.verify:
        verify(args.verify)
    config = make_config(args)
    write_checkpoint(args.output, config, random_weights(config, args.seed), args.dtype, args.shards)
    if args.tokenizer:
        (args.output / "tokenizer.json").write_text(json.dumps(byte_tokenizer(), indent=1, ensure_ascii=False))
    if args.tokens:
        config, tensors = read_checkpoint(args.output)  # the weights as stored, rounded
        tokens = np.random.default_rng(args.seed + 1).integers(args.vocab, size=args.tokens).tolist()
        reference, margin = make_reference(config, tensors, tokens, args.sinks, args.window, args.greedy)
        (args.output / "reference.json").write_text(json.dumps(reference) + "\n")
        print(f"{args.output}: the closest greedy choice was decided by {margin:.1e}")


if __name__ == "__main__":
    main()
