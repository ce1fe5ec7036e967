"""Writes a Llama of random weights as llama.cpp wants it. Runs in the peers' environment (gguf, numpy).

    write_gguf.py OUT BF16|Q8_0|Q4_0 CONFIG.json
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np

FILE_TYPES = {"BF16": gguf.LlamaFileType.MOSTLY_BF16, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}
ROWS = 64  # that are random; a matrix repeats them, since times do not depend on the weights


def matrix(random, kind, rows, columns):
    values = random.normal(0, 0.02, size=(ROWS, columns)).astype(np.float32)
    return np.resize(gguf.quants.quantize(values, kind), (rows, gguf.quant_shape_to_byte_shape((rows, columns), kind)[1]))


def write(path, name, config):
    kind = gguf.GGMLQuantizationType[name]
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, kv_heads, vocab = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    kv_size = hidden // heads * kv_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(FILE_TYPES[name])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(1)
    shapes = {"token_embd": (vocab, hidden), "output": (vocab, hidden)}
    norms = ["output_norm"]
    for layer in range(layers):
        norms += [f"blk.{layer}.attn_norm", f"blk.{layer}.ffn_norm"]
        for part, shape in {
            "attn_q": (hidden, hidden), "attn_k": (kv_size, hidden), "attn_v": (kv_size, hidden), "attn_output": (hidden, hidden),
            "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner),
        }.items():
            shapes[f"blk.{layer}.{part}"] = shape
    for tensor in norms:
        writer.add_tensor(tensor + ".weight", np.ones(hidden, np.float32))
    for tensor, (rows, columns) in shapes.items():
        writer.add_tensor(tensor + ".weight", matrix(random, kind, rows, columns), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
