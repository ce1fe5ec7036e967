"""Writes GGUF files as llama.cpp does, of checkpoints that the project has."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "models/demo"

PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_bf16(path):
    """name -> float32, of a file whose tensors are all bf16."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + begin:8 + length + end], ml_dtypes.bfloat16)
        tensors[name] = values.astype(np.float32).reshape(entry["shape"])
    return tensors


def interleaved(weight, heads):
    """As llama.cpp's convert_hf_to_gguf.py permutes query and key rows."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def gguf_name(name):
    name, kind = name.rsplit(".", 1)
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if name in top:
        return f"{top[name]}.{kind}"
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def write_demo(path, quantized=False, **changes):
    """The demo model as a GGUF file: float32, or its matrices in Q4_1. `changes` replaces metadata; None leaves it out."""
    config, tokenizer = read_json(DEMO / "config.json"), read_json(DEMO / "tokenizer.json")
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    merges = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    fields = {
        "llama.context_length": ("uint32", config["max_position_embeddings"]),
        "llama.embedding_length": ("uint32", config["hidden_size"]),
        "llama.block_count": ("uint32", config["num_hidden_layers"]),
        "llama.feed_forward_length": ("uint32", config["intermediate_size"]),
        "llama.attention.head_count": ("uint32", heads),
        "llama.attention.head_count_kv": ("uint32", kv_heads),
        "llama.attention.layer_norm_rms_epsilon": ("float32", config["rms_norm_eps"]),
        "llama.rope.freq_base": ("float32", config["rope_parameters"]["rope_theta"]),
        "tokenizer.ggml.model": ("string", "gpt2"),
        "tokenizer.ggml.pre": ("string", "smollm"),
        "tokenizer.ggml.tokens": ("array", vocabulary),
        "tokenizer.ggml.token_type": ("array", [int(TokenType.CONTROL if index in special else TokenType.NORMAL)
                                                for index in range(len(vocabulary))]),
        "tokenizer.ggml.merges": ("array", merges),
        "tokenizer.ggml.bos_token_id": ("uint32", config["bos_token_id"]),
        "tokenizer.ggml.eos_token_id": ("uint32", config["eos_token_id"]),
        "tokenizer.chat_template": ("string", "{{ messages[0]['content'] }}"),
    } | {key.replace("__", "."): value for key, value in changes.items()}
    writer = GGUFWriter(path, "llama")
    for key, field in fields.items():
        if field:
            getattr(writer, "add_" + field[0])(key, field[1])
    for name, weight in read_bf16(DEMO / "model.safetensors").items():
        if "q_proj" in name or "k_proj" in name:
            weight = interleaved(weight, heads if "q_proj" in name else kv_heads)
        if quantized and weight.ndim == 2:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(gguf_name(name), quants.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
