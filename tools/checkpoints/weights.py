"""Random weights of a model."""

import math

import numpy as np


def random_weights(model, seed):
    """Every layer's output has a variance near 1/layers, so that rounding errors do not grow with the depth."""
    random = np.random.default_rng(seed)
    q_size, kv_size = model.heads * model.head_dim, model.kv_heads * model.head_dim
    residual_scale = 1 / math.sqrt(2 * model.layers)
    tensors = {}

    def linear(name, out_features, in_features, bias=False, scale=1.0):
        tensors[name + ".weight"] = random.normal(size=(out_features, in_features)) * scale / math.sqrt(in_features)
        if bias:
            tensors[name + ".bias"] = random.normal(size=out_features) * scale / 4

    def norm(name, features=model.hidden):
        tensors[name + ".weight"] = 1 + random.normal(size=features) / 8
        if model.norm_bias:
            tensors[name + ".bias"] = random.normal(size=features) / 8

    tensors[model.names["embedding"] + ".weight"] = random.normal(size=(model.vocab, model.hidden))
    for index in range(model.layers):
        name = {part: pattern.format(index) for part, pattern in model.names.items()}
        norm(name["attention_norm"])
        if model.qkv == "separate":
            for part, size in (("query", q_size), ("key", kv_size), ("value", kv_size)):
                linear(name[part], size, model.hidden, model.qkv_bias)
        else:
            linear(name["qkv"], q_size + 2 * kv_size, model.hidden, model.qkv_bias)
        if model.qk_norm:
            norm(name["query_norm"], q_size)
            norm(name["key_norm"], kv_size)
        linear(name["attention_out"], model.hidden, q_size, model.out_bias, residual_scale)
        if "mlp_norm" in name:
            norm(name["mlp_norm"])
        if model.activation == "silu":
            linear(name["gate"], model.inner, model.hidden, model.mlp_bias)
        linear(name["up"], model.inner, model.hidden, model.mlp_bias)
        linear(name["down"], model.hidden, model.inner, model.mlp_bias, residual_scale)
    norm(model.names["final_norm"])
    if not model.tied:
        linear(model.names["lm_head"], model.vocab, model.hidden, scale=2.0)
    return tensors
