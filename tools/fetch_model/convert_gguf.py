#!/usr/bin/env python3
"""Turns a GGUF file of a Llama with a byte-level BPE tokenizer into a checkpoint directory as Hugging Face publishes them.

Weights of any of GGUF's types become bf16: what a quantized type stands for is computed in float32 and rounded once.
Needs tools/fetch_model/requirements.txt.
"""

import argparse
import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
from gguf import GGUFReader, TokenType, dequantize
from safetensors.numpy import save_file

TOP_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# GGUF names the way a text is split before BPE; tokenizer.json spells it out.
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
}


class ConversionError(Exception):
    pass


class Fields:
    """The file's metadata."""

    def __init__(self, reader):
        self._fields = reader.fields

    def __call__(self, key, default=None):
        if key in self._fields:
            return self._fields[key].contents()
        if default is None:
            raise ConversionError(f"the file has no {key}")
        return default


def expect(field, key, supported, default=None):
    value = field(key, default)
    if value not in supported:
        raise ConversionError(f"{key} is {value!r}; supported: {', '.join(map(str, supported))}")
    return value


def halves_apart(weight, heads):
    """GGUF interleaves the two halves of each head's rows for its rotary embedding; Hugging Face keeps them apart."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def checkpoint_name(name):
    stem, _, kind = name.rpartition(".")
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.{kind}"
    block, _, part = stem.partition(".")[2].partition(".")
    if not stem.startswith("blk.") or part not in LAYER_NAMES:
        raise ConversionError(f"tensor {name!r} is none of a Llama's")
    return f"model.layers.{block}.{LAYER_NAMES[part]}.{kind}"


def convert_tensors(reader, field):
    rotated = {"q_proj": field("llama.attention.head_count"), "k_proj": field("llama.attention.head_count_kv")}
    tensors = {}
    for tensor in reader.tensors:
        name = checkpoint_name(tensor.name)
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        heads = rotated.get(name.split(".")[-2])
        if heads:
            weight = halves_apart(weight, heads)
        tensors[name] = np.ascontiguousarray(weight.astype(ml_dtypes.bfloat16))
    return tensors


def make_config(field, tensors):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in tensors,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "model_type": "llama",
        "num_attention_heads": field("llama.attention.head_count"),
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),  # written as float32
        "rope_theta": float(f"{field('llama.rope.freq_base', 10000.0):.6g}"),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "torch_dtype": "bfloat16",
        "vocab_size": len(field("tokenizer.ggml.tokens")),
    }
    head_size = config["hidden_size"] // config["num_attention_heads"]
    if field("llama.rope.dimension_count", head_size) != head_size:
        raise ConversionError("a part of each head is rotated; a Llama rotates all of it")
    return config


def make_tokenizer(field):
    expect(field, "tokenizer.ggml.model", ["gpt2"])
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    added = [{"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kind == TokenType.CONTROL}
             for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
             if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[expect(field, "tokenizer.ggml.pre", list(PRE_TOKENIZERS))],
        "post_processor": None,
        "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: index for index, token in enumerate(tokens)},
                  "merges": [merge.split(" ") for merge in field("tokenizer.ggml.merges")]},
    }


def make_tokenizer_config(field):
    tokens = field("tokenizer.ggml.tokens")
    special = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    named = {f"{ours}_token": tokens[field(f"tokenizer.ggml.{theirs}_token_id")]
             for ours, theirs in special.items() if field(f"tokenizer.ggml.{theirs}_token_id", -1) >= 0}
    return {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **named,
            "model_max_length": field("llama.context_length"), "chat_template": field("tokenizer.chat_template")}


def convert(gguf, output):
    reader = GGUFReader(gguf)
    field = Fields(reader)
    expect(field, "general.architecture", ["llama"])
    expect(field, "llama.rope.scaling.type", ["none"], "none")
    expect(field, "tokenizer.ggml.add_bos_token", [False], False)
    tensors = convert_tensors(reader, field)
    files = {
        "config.json": make_config(field, tensors),
        "generation_config.json": {"bos_token_id": field("tokenizer.ggml.bos_token_id"),
                                   "eos_token_id": field("tokenizer.ggml.eos_token_id")},
        "tokenizer.json": make_tokenizer(field),
        "tokenizer_config.json": make_tokenizer_config(field),
    }
    output.mkdir(parents=True, exist_ok=True)
    save_file(tensors, output / "model.safetensors", {"format": "pt"})
    for name, contents in files.items():
        (output / name).write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sum(tensor.size for tensor in tensors.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("output", type=Path, help="the checkpoint directory")
    arguments = parser.parse_args()
    try:
        parameters = convert(arguments.gguf, arguments.output)
    except (ConversionError, OSError, ValueError) as error:
        sys.exit(f"{arguments.gguf}: {error}")
    print(f"{arguments.output}: {parameters:,} parameters")


if __name__ == "__main__":
    main()
