"""tools/compare_peers.py: the peer's file holds the Llama it should, and the table says what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import compare_peers  # noqa: E402

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "vocab_size": 160, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}


@pytest.mark.parametrize("kind", ["BF16", "Q8_0", "Q4_0"])
def test_the_peers_file_holds_every_matrix_in_its_type(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    file = tmp_path / "model.gguf"
    subprocess.run([sys.executable, TOOLS / "peers/write_gguf.py", file, kind, tmp_path / "config.json"], check=True)
    matrices = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors if len(tensor.shape) == 2}
    assert len(matrices) == 2 + 2 * 7
    assert all(tensor.tensor_type.name == kind for tensor in matrices.values())
    assert list(matrices["blk.1.ffn_down.weight"].shape) == [96, 64]
    assert list(matrices["blk.0.attn_k.weight"].shape) == [64, 32]
    assert sum(int(tensor.n_elements) for tensor in matrices.values()) == 2 * 160 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)


def test_the_table_sets_both_beside_their_limits():
    ours = {"read_bytes_a_second": 40e9, "arithmetic_operations_a_second": 200e9, "weight_bytes": 2e9,
            "prefill_seconds": 8.0, "prefill_operations_a_second": 128e9,
            "decode": [{"streams": 1, "step_seconds": 0.1}, {"streams": 16, "step_seconds": 0.2}]}
    theirs = {"decode": {"1": 8.0, "16": 20.0}, "prompt": 40.0, "bytes": 2.5e9}
    one, sixteen, prompt = compare_peers.table([ours], [theirs], 512)
    assert one[:3] == ("decode, 1 stream", 10.0, 8.0) and one[3].startswith("memory 50 %, 50 %")
    assert sixteen[:3] == ("decode, 16 streams", 80.0, 20.0) and sixteen[3].startswith("memory 25 %, 8 %")
    assert prompt == ("prompt of 512", 64.0, 40.0, "arithmetic 64 %, 40 %")


def test_weights_that_no_peer_has_are_refused():
    result = subprocess.run([sys.executable, TOOLS / "compare_peers.py", "--weights", "int5"], capture_output=True, text=True)
    assert result.returncode == 2 and "bf16, int8, int4, not int5" in result.stderr
