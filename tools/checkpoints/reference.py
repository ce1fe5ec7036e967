"""Exact results of a checkpoint, in float64, one token at a time, by the rule itself: a list of the kept keys and values,
the oldest beyond the sinks dropped, and every kept key turned anew at its place in the list.
"""

import math

import numpy as np

DENSE_TOKENS = 96  # as far as the dense reference goes, at most

erf = np.vectorize(math.erf)

ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def rotate(x, places, frequencies):
    """x [n, heads, head_dim], each of the n at its own place; features beyond the rotary ones stay."""
    half = len(frequencies)
    angles = np.multiply.outer(places, frequencies)[:, None, :]
    cosines, sines = np.cos(angles), np.sin(angles)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([first * cosines - second * sines, second * cosines + first * sines, rest], axis=-1)


class Session:
    """One text, fed token by token; sinks and window None: everything is kept (dense)."""

    def __init__(self, model, tensors, sinks=None, window=None):
        self.model, self.tensors, self.sinks, self.window = model, tensors, sinks, window
        self.kept = [([], []) for _ in range(model.layers)]  # keys (not turned) and values

    def linear(self, part, index, x):
        name = self.model.names[part].format(index)
        y = self.tensors[name + ".weight"] @ x
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, part, index, x, kind=None):
        name, epsilon = self.model.names[part].format(index), self.model.epsilon
        weight, bias = self.tensors[name + ".weight"], self.tensors.get(name + ".bias", 0.0)
        if (kind or self.model.norm) == "rms":
            return x / np.sqrt(np.mean(x * x) + epsilon) * weight
        return (x - x.mean()) / np.sqrt(x.var() + epsilon) * weight + bias

    def queries_keys_values(self, index, x):
        """[heads, head_dim], [kv_heads, head_dim] twice"""
        model, dim = self.model, self.model.head_dim
        if model.qkv == "separate":
            q, k, v = (self.linear(part, index, x).reshape(-1, dim) for part in ("query", "key", "value"))
        else:
            mixed = self.linear("qkv", index, x).reshape(-1, dim)
            if model.clip:
                mixed = np.clip(mixed, -model.clip, model.clip)
            if model.qkv == "stacked":
                q, k, v = np.split(mixed, [model.heads, model.heads + model.kv_heads])
            else:
                groups = mixed.reshape(model.kv_heads, -1, dim)
                q, k, v = groups[:, :-2].reshape(-1, dim), groups[:, -2], groups[:, -1]
        if model.qk_norm:
            q = self.norm("query_norm", index, q.reshape(-1), "layer").reshape(-1, dim)
            k = self.norm("key_norm", index, k.reshape(-1), "layer").reshape(-1, dim)
        return q, k, v

    def attention(self, index, x):
        model = self.model
        query, key, value = self.queries_keys_values(index, x)
        keys, values = self.kept[index]
        keys.append(key)
        values.append(value)
        if self.window is not None and len(keys) > self.sinks + self.window:
            del keys[self.sinks], values[self.sinks]

        places, keys = np.arange(len(keys)), np.array(keys)  # [n, kv_heads, head_dim]
        if model.frequencies is not None:
            query = rotate(query[None], places[-1:], model.frequencies)[0]
            keys = rotate(keys, places, model.frequencies)
        query = query.reshape(model.kv_heads, -1, model.head_dim)
        scores = query @ keys.transpose(1, 2, 0) * model.attention_scale  # [kv_heads, group, n]
        if model.slopes is not None:
            scores -= model.slopes.reshape(model.kv_heads, -1, 1) * (places[-1] - places)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = weights @ np.array(values).transpose(1, 0, 2)  # [kv_heads, group, head_dim]
        return self.linear("attention_out", index, mixed.reshape(-1))

    def mlp(self, index, x):
        activation = ACTIVATIONS[self.model.activation]
        if self.model.activation == "silu":
            return self.linear("down", index, activation(self.linear("gate", index, x)) * self.linear("up", index, x))
        return self.linear("down", index, activation(self.linear("up", index, x)))

    def feed(self, token):
        """Takes in one token; returns the logits of the next."""
        model = self.model
        x = self.tensors[model.names["embedding"] + ".weight"][token]
        for index in range(model.layers):
            normed = self.norm("attention_norm", index, x)
            attended = self.attention(index, normed)
            if model.parallel:
                normed = self.norm("mlp_norm", index, x) if "mlp_norm" in model.names else normed
                x = x + attended + self.mlp(index, normed)
            else:
                x = x + attended
                x = x + self.mlp(index, self.norm("mlp_norm", index, x))
        head = model.names["embedding" if model.tied else "lm_head"] + ".weight"
        return self.tensors[head] @ self.norm("final_norm", 0, x) * model.logit_scale


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


def make_reference(model, tensors, tokens, sinks, window, greedy):
    dense_tokens, dense_prompt = min(DENSE_TOKENS, len(tokens)), min(16, len(tokens))
    scored = score(Session(model, tensors), tokens[:dense_tokens])
    generated, margin = generate(Session(model, tensors), tokens[:dense_prompt], dense_prompt + greedy)
    reference = {
        "input_ids": tokens,
        "dense": {"tokens": dense_tokens, **scored},
        "greedy": {"prompt": dense_prompt, "tokens": generated},
    }
    for name, mode in (("sink", (sinks, window)), ("window", (0, sinks + window))):
        prompt = min(28, len(tokens))
        generated, mode_margin = generate(Session(model, tensors, *mode), tokens[:prompt], prompt + greedy)
        margin = min(margin, mode_margin)
        reference[name] = {
            "sink_tokens": mode[0],
            "window_tokens": mode[1],
            **score(Session(model, tensors, *mode), tokens),
            "greedy_prompt": prompt,
            "greedy_tokens": generated,
        }
    return reference, margin


def compare(model, tensors, reference):
    """Yields for each mode the largest differences of NLL and of the last logits, and whether the greedy tokens agree."""
    greedy = reference["greedy"]
    cases = [("dense", reference["dense"], reference["dense"]["tokens"], greedy["prompt"], greedy["tokens"])]
    for name in ("window", "sink"):
        mode = reference[name]
        cases.append((name, mode, len(reference["input_ids"]), mode["greedy_prompt"], mode["greedy_tokens"]))
    for name, expected, tokens, prompt, greedy_tokens in cases:
        mode = (expected.get("sink_tokens"), expected.get("window_tokens"))
        scored = score(Session(model, tensors, *mode), reference["input_ids"][:tokens])
        generated, _ = generate(Session(model, tensors, *mode), reference["input_ids"][:prompt], len(greedy_tokens))
        nll = np.abs(np.subtract(scored["nll"], expected["nll"])).max()
        logits = np.abs(np.subtract(scored["last_logits"], expected["last_logits"])).max()
        yield name, nll, logits, generated == greedy_tokens
