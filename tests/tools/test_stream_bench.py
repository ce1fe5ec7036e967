"""stream-bench: it times what it was asked for, on one rank and several, and says what it can't do."""

import json
import os
import pathlib
import platform
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from mpirun import FOR_MPIRUN  # noqa: E402

BENCH = os.environ["STREAM_BENCH"]
SMALL = ["--layers", "1", "--streams", "1,3", "--window", "16", "--prompt", "9", "--chunk", "4", "--steps", "1"]


def bench(*options, command="model"):
    return subprocess.run([BENCH, command, *options], capture_output=True, text=True, timeout=280)


def test_a_model_is_timed(tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert bench(*SMALL, "--weights", "int4,bf16", "--json", one).returncode == 0
    assert bench(*SMALL, "--weights", "int4", "--ranks", "2", "--json", two).returncode == 0
    one, two = json.loads(one.read_text()), json.loads(two.read_text())
    int4, bf16 = one["models"]
    assert [int4["weights"], bf16["weights"]] == ["int4", "bf16"]
    for model in (int4, bf16, *two["models"]):
        assert [decoding["streams"] for decoding in model["decode"]] == [1, 3]
        assert all(decoding["step_seconds"] > 0 for decoding in model["decode"])
        assert model["prefill_seconds"] > 0 and model["read_bytes_a_second"] > 0
        assert abs(model["prefill_operations_a_second"] * model["prefill_seconds"] / (2 * 9 * 60.8e6) - 1) < 0.005
        assert model["arithmetic_operations_a_second"] > 0 or platform.machine() != "x86_64"
    # A layer of Llama 3.2 1B has 60.8 million weights, its head 262.7 million; the embedding isn't read.
    assert abs(bf16["weight_bytes"] / (2 * (60.8e6 + 262.7e6)) - 1) < 0.005
    assert int4["weight_bytes"] < bf16["weight_bytes"]
    assert abs(two["models"][0]["weight_bytes"] / int4["weight_bytes"] - 1) < 0.01


def test_what_it_cannot_do_is_said(tmp_path):
    for options, message in [(["--weights", "int5"], "f32, bf16, int8 or int4, not int5"), (["--shape", "8b"], "--shape"),
                             (["--ranks", "2", "--rank-of", "8"], "--rank-of is for --ranks 1")]:
        result = bench(*options)
        assert result.returncode == 2 and message in result.stderr, result
    result = bench(*SMALL, "--weights", "int4", "--json", tmp_path / "no" / "file.json")
    assert result.returncode == 2 and "could not be written" in result.stderr


def test_parking_is_timed(tmp_path):
    def bytes_of(*options):
        result = bench("--sinks", "4", "--window", "32", "--repeats", "1", "--json", tmp_path / "parking.json",
                       *options, command="parking")
        assert result.returncode == 0, result
        times = json.loads((tmp_path / "parking.json").read_text())
        assert min(times["park_seconds"], times["unpark_seconds"], times["copy_seconds"]) > 0
        return times["bytes"]

    # Llama 3.2 1B has 16 layers of 8 heads with 64 dimensions: 8,192 numbers of each key, and of each value.
    assert bytes_of("--seen", "1000", "--threads", "2") == 2 * 8192 * (4 * 4 + 32 * 2)
    assert bytes_of("--seen", "3") == 2 * 8192 * (3 * 4 + 3 * 2)
    assert bytes_of("--seen", "1000", "--ring", "f32") == 2 * 8192 * (4 * 4 + 32 * 4)


def test_sums_are_timed(tmp_path):
    options = ["--widths", "64,30000", "--rows", "1,2", "--repeats", "1", "--json", tmp_path / "sums.json"]
    result = subprocess.run(["mpirun", "--oversubscribe", "-np", "2", BENCH, "sums", *options], capture_output=True, text=True,
                            timeout=280, env=os.environ | FOR_MPIRUN)
    assert result.returncode == 0, result
    times = json.loads((tmp_path / "sums.json").read_text())
    assert times["ranks"] == 2
    assert [(sum["rows"], sum["width"]) for sum in times["sums"]] == [(1, 64), (2, 64), (1, 30000), (2, 30000)]
    assert all(sum["mpi_seconds"] > 0 and sum["shm_seconds"] > 0 for sum in times["sums"])
    assert bench("--repeats", "1", command="sums").returncode == 0, "one rank has nobody to add to"
