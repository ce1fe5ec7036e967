"""Checkpoint directories: config.json, safetensors files, a tokenizer of bytes."""

import json
import struct

import numpy as np


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
