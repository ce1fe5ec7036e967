"""tools/fetch_model/convert_gguf.py: what comes out is what went in."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from gguf_files import DEMO, PROJECT, gguf_name, interleaved, read_bf16, read_json, write_demo


def convert(gguf, output):
    return subprocess.run([sys.executable, "-B", PROJECT / "tools/fetch_model/convert_gguf.py", gguf, output],
                          capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("converted")
    result = convert(write_demo(directory / "demo.gguf"), directory / "model")
    assert result.returncode == 0, result.stderr
    return directory / "model"


def test_weights_come_back_bit_for_bit(converted):
    expected, found = read_bf16(DEMO / "model.safetensors"), read_bf16(converted / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, name)


def test_configuration_comes_back(converted):
    expected, found = read_json(DEMO / "config.json"), read_json(converted / "config.json")
    expected["rope_theta"] = expected["rope_parameters"]["rope_theta"]
    expected["torch_dtype"] = expected["dtype"]
    assert found == {key: expected[key] for key in found}
    assert read_json(converted / "generation_config.json") == {"bos_token_id": 0, "eos_token_id": 1}


def test_tokenizer_comes_back(converted):
    expected, found = read_json(DEMO / "tokenizer.json"), read_json(converted / "tokenizer.json")
    for key in ("vocab", "merges"):
        assert found["model"][key] == expected["model"][key]
    assert found["added_tokens"] == expected["added_tokens"]
    splits, byte_level = found["pre_tokenizer"]["pretokenizers"]
    assert splits == {"type": "Digits", "individual_digits": True} and byte_level["use_regex"]
    words = read_json(converted / "tokenizer_config.json")
    assert (words["bos_token"], words["eos_token"]) == ("<|begin|>", "<|end|>")
    assert words["chat_template"] == "{{ messages[0]['content'] }}"


def test_four_bits_mean_scale_times_number_plus_minimum(tmp_path):
    gguf = write_demo(tmp_path / "demo.gguf", quantized=True)
    result = convert(gguf, tmp_path / "model")
    assert result.returncode == 0, result.stderr
    found = read_bf16(tmp_path / "model/model.safetensors")

    from gguf import GGUFReader
    stored = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}
    for name in ("model.layers.3.self_attn.q_proj.weight", "model.layers.7.mlp.down_proj.weight"):
        blocks = np.asarray(stored[gguf_name(name)].data).reshape(-1, 20)  # two f16 numbers, then 32 numbers of 4 bits
        scale, minimum = blocks[:, :4].copy().view(np.float16).astype(np.float32).T[..., None]
        numbers = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
        expected = (scale * numbers + minimum).astype(ml_dtypes.bfloat16).astype(np.float32).reshape(found[name].shape)
        np.testing.assert_array_equal(interleaved(found[name], 4) if "q_proj" in name else found[name], expected)


@pytest.mark.parametrize("changes, words", [
    ({"general__architecture": None, "tokenizer__ggml__model": ("string", "llama")}, "tokenizer.ggml.model is 'llama'"),
    ({"tokenizer__ggml__pre": ("string", "unheard-of")}, "tokenizer.ggml.pre is 'unheard-of'"),
    ({"llama__block_count": None}, "no llama.block_count"),
    ({"llama__rope__dimension_count": ("uint32", 32)}, "rotated"),
    ({"llama__rope__scaling__type": ("string", "yarn")}, "llama.rope.scaling.type is 'yarn'"),
    ({"tokenizer__ggml__add_bos_token": ("bool", True)}, "add_bos_token"),
])
def test_what_is_not_supported_is_named(tmp_path, changes, words):
    result = convert(write_demo(tmp_path / "demo.gguf", **changes), tmp_path / "model")
    assert result.returncode == 1
    assert words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really" * 9)
    result = convert(tmp_path / "broken.gguf", tmp_path / "model")
    assert result.returncode == 1 and "broken.gguf" in result.stderr and "Traceback" not in result.stderr
