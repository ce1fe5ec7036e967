"""Each family's config.json, written from sizes and read as the choices that its computation makes.

Written from the families' papers and published code, independently of the program that is tested with it.
"""

import math
import sys
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class Model:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    names: dict  # of tensors, without ".weight"; "{}" is the layer
    epsilon: float
    attention_scale: float
    norm: str = "layer"  # or "rms"
    norm_bias: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    tied: bool = False
    activation: str = "gelu"  # "gelu_tanh", or "silu", which is gated
    parallel: bool = False  # attention and MLP beside each other
    qkv: str = "grouped"  # "separate" or "stacked"
    clip: float | None = None
    qk_norm: bool = False
    logit_scale: float = 1.0
    frequencies: np.ndarray | None = field(default=None)  # rotary, rounded to float32
    slopes: np.ndarray | None = field(default=None)  # ALiBi, of scores that are scaled already


# ---- positions ------------------------------------------------------------------------------------------------------


def rotary_frequencies(config, head_dim, default_part=1.0):
    """In float32, as transformers computes them."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    part = rope.get("partial_rotary_factor", config.get("rotary_pct", default_part))
    theta = rope.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))
    dim = int(head_dim * part)
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
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


def mpt_slopes(heads, bias_max):
    count = 2 ** math.ceil(math.log2(heads))
    slopes = 2.0 ** -(np.arange(1, count + 1) * bias_max / count)
    return slopes if count == heads else np.concatenate([slopes[1::2], slopes[::2]])[:heads]


def falcon_slopes(heads):
    count = 2 ** math.floor(math.log2(heads))
    base = 2.0 ** -(2 ** -(math.log2(count) - 3))
    slopes = base ** np.arange(1, count + 1)
    if count < heads:
        base = 2.0 ** -(2 ** -(math.log2(2 * count) - 3))
        slopes = np.concatenate([slopes, base ** np.arange(1, 2 * (heads - count), 2)])
    return slopes


# ---- config.json ----------------------------------------------------------------------------------------------------


def llama_config(sizes):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "head_dim": sizes.head_dim,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": sizes.context,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.kv_heads,
        "rms_norm_eps": 1e-6,
    }


def mistral_config(sizes):
    return llama_config(sizes) | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}


def qwen2_config(sizes):
    return llama_config(sizes) | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000000.0,
                                  "sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 1}


def mpt_config(sizes):
    return {
        "architectures": ["MptForCausalLM"],
        "model_type": "mpt",
        "attn_config": {"alibi": True, "attn_type": "grouped_query_attention", "kv_n_heads": sizes.kv_heads},
        "d_model": sizes.hidden,
        "expansion_ratio": sizes.intermediate / sizes.hidden,
        "max_seq_len": sizes.context,
        "n_heads": sizes.heads,
        "n_layers": sizes.layers,
        "no_bias": True,
    }


def falcon_config(sizes):
    return {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "alibi": False,
        "bias": False,
        "ffn_hidden_size": sizes.intermediate,
        "hidden_size": sizes.hidden,
        "multi_query": sizes.kv_heads == 1,
        "new_decoder_architecture": sizes.kv_heads not in (1, sizes.heads),
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_kv_heads": sizes.kv_heads,
        "parallel_attn": True,
    }


def gpt_neox_config(sizes):
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_act": "gelu",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": sizes.context,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
    }


# ---- reading it -----------------------------------------------------------------------------------------------------


def layered(prefix, **parts):
    return {part: f"{prefix}.{{}}.{name}" for part, name in parts.items()}


def read_llama(config):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return Model(
        layers=config["num_hidden_layers"], hidden=config["hidden_size"], heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads, head_dim=head_dim, inner=config["intermediate_size"],
        vocab=config["vocab_size"], epsilon=config["rms_norm_eps"], attention_scale=1 / math.sqrt(head_dim),
        norm="rms", norm_bias=False, qkv_bias=config.get("attention_bias", False),
        out_bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False), tied=config.get("tie_word_embeddings", False), activation="silu",
        qkv="separate", frequencies=rotary_frequencies(config, head_dim),
        names={"embedding": "model.embed_tokens", "final_norm": "model.norm", "lm_head": "lm_head"}
        | layered("model.layers", attention_norm="input_layernorm", query="self_attn.q_proj", key="self_attn.k_proj",
                  value="self_attn.v_proj", attention_out="self_attn.o_proj", mlp_norm="post_attention_layernorm",
                  gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj"))


def read_qwen2(config):
    return replace(read_llama(config), qkv_bias=True, out_bias=False)


def read_mpt(config):
    attention, hidden, heads = config.get("attn_config", {}), config["d_model"], config["n_heads"]
    head_dim, biases = hidden // heads, not config.get("no_bias", True)
    kv_heads = 1 if attention.get("attn_type") == "multiquery_attention" else attention.get("kv_n_heads") or heads
    scale = config.get("logit_scale")
    return Model(
        layers=config["n_layers"], hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        inner=round(config.get("expansion_ratio", 4) * hidden), vocab=config["vocab_size"],
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        attention_scale=attention.get("softmax_scale") or 1 / math.sqrt(head_dim), norm_bias=biases,
        qkv_bias=biases, out_bias=biases, mlp_bias=biases, tied=config.get("tie_word_embeddings", True), qkv="stacked",
        clip=attention.get("clip_qkv"), qk_norm=attention.get("qk_ln", False),
        logit_scale=1 / math.sqrt(hidden) if scale == "inv_sqrt_d_model" else scale or 1.0,
        slopes=mpt_slopes(heads, attention.get("alibi_bias_max", 8)),
        names={"embedding": "transformer.wte", "final_norm": "transformer.norm_f", "lm_head": "lm_head"}
        | layered("transformer.blocks", attention_norm="norm_1", qkv="attn.Wqkv", query_norm="attn.q_ln",
                  key_norm="attn.k_ln", attention_out="attn.out_proj", mlp_norm="norm_2", up="ffn.up_proj",
                  down="ffn.down_proj"))


def read_falcon(config):
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim, new = hidden // heads, config.get("new_decoder_architecture", False)
    parallel, alibi = new or config.get("parallel_attn", True), config.get("alibi", False)
    names = layered("transformer.h", attention_norm="input_layernorm", qkv="self_attention.query_key_value",
                    attention_out="self_attention.dense", up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
    if new and (config.get("num_ln_in_parallel_attn") or 2) == 2:
        names |= layered("transformer.h", attention_norm="ln_attn", mlp_norm="ln_mlp")
    elif not parallel:
        names |= layered("transformer.h", mlp_norm="post_attention_layernorm")
    return Model(
        layers=config["num_hidden_layers"], hidden=hidden, heads=heads,
        kv_heads=config["num_kv_heads"] if new else 1 if config.get("multi_query", True) else heads,
        head_dim=head_dim, inner=config.get("ffn_hidden_size") or 4 * hidden, vocab=config["vocab_size"],
        epsilon=config.get("layer_norm_epsilon", 1e-5), attention_scale=1 / math.sqrt(head_dim),
        qkv_bias=config.get("bias", False), out_bias=config.get("bias", False), mlp_bias=config.get("bias", False),
        tied=config.get("tie_word_embeddings", True), parallel=parallel,
        activation="gelu" if config.get("activation", "gelu") == "gelu" else "gelu_tanh",
        frequencies=None if alibi else rotary_frequencies(config, head_dim),
        slopes=falcon_slopes(heads) / math.sqrt(head_dim) if alibi else None,
        names=names | {"embedding": "transformer.word_embeddings", "final_norm": "transformer.ln_f", "lm_head": "lm_head"})


def read_gpt_neox(config):
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = hidden // heads
    return Model(
        layers=config["num_hidden_layers"], hidden=hidden, heads=heads, kv_heads=heads, head_dim=head_dim,
        inner=config["intermediate_size"], vocab=config["vocab_size"], epsilon=config.get("layer_norm_eps", 1e-5),
        attention_scale=1 / math.sqrt(head_dim), qkv_bias=config.get("attention_bias", True),
        out_bias=config.get("attention_bias", True), mlp_bias=True,
        tied=config.get("tie_word_embeddings", False), parallel=config.get("use_parallel_residual", True),
        activation="gelu" if config.get("hidden_act", "gelu") == "gelu" else "gelu_tanh",
        frequencies=rotary_frequencies(config, head_dim, 0.25),
        names={"embedding": "gpt_neox.embed_in", "final_norm": "gpt_neox.final_layer_norm", "lm_head": "embed_out"}
        | layered("gpt_neox.layers", attention_norm="input_layernorm", qkv="attention.query_key_value",
                  attention_out="attention.dense", mlp_norm="post_attention_layernorm", up="mlp.dense_h_to_4h",
                  down="mlp.dense_4h_to_h"))


FAMILIES = {  # name: how config.json is written, how it is read
    "llama": (llama_config, read_llama),
    "mistral": (mistral_config, read_llama),
    "qwen2": (qwen2_config, read_qwen2),
    "mpt": (mpt_config, read_mpt),
    "falcon": (falcon_config, read_falcon),
    "gpt_neox": (gpt_neox_config, read_gpt_neox),
}


def read_model(config):
    return FAMILIES[config["model_type"]][1](config)
