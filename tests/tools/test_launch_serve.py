"""launch/serve fetches weights that are not here yet, and only then. What it calls is stood in for by scripts that say so."""

import shutil
import subprocess

import pytest

from gguf_files import PROJECT

MISSING = "the weights have not been fetched yet; launch/fetch-model tiny fetches them, into /models/tiny"


@pytest.fixture
def serve(tmp_path):
    def put(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/usr/bin/env bash\n" + text)
        file.chmod(0o755)

    def run(plan, *arguments, fetch_status=0):
        put("CMakeLists.txt", "")  # a source tree, not an installed one
        shutil.copy(PROJECT / "launch/serve", tmp_path / "launch/serve")
        put("build/release/worker/stream-worker", f'echo "{plan}"\n')
        put("launch/fetch-model", f'echo "fetch-model $*"; exit {fetch_status}\n')
        return subprocess.run([tmp_path / "launch/serve", *arguments], capture_output=True, text=True, timeout=60)

    for name in ("install", "build", "run-group"):
        put(f"launch/{name}", f'echo "{name}"; echo "$*" >&2\n')
    return run


def test_missing_weights_are_fetched_before_the_start(serve):
    result = serve(f"tiny: llama\n{MISSING}", "--config", "tiny.yaml")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[-3:] == ["fetch-model tiny", "run-group", ""]


@pytest.mark.parametrize("plan, arguments", [
    ("tiny: llama", ["--config", "tiny.yaml"]),
    (MISSING, ["--config", "tiny.yaml", "--plan"]),
    ("launch/fetch-model; rm -rf", []),
])
def test_nothing_else_is_fetched(serve, plan, arguments):
    result = serve(plan, *arguments)
    assert result.returncode == 0, result.stderr
    assert "fetch-model" not in result.stdout and "run-group" in result.stdout


def test_it_does_not_start_when_the_weights_cannot_be_had(serve):
    result = serve(MISSING, fetch_status=1)
    assert result.returncode == 1
    assert "run-group" not in result.stdout


@pytest.mark.parametrize("device, arguments, ranks", [
    ("cpu", [], 2),
    ("cuda", [], 1),
    ("cuda", ["-np", "4"], 4),
])
def test_a_gpu_has_one_rank_unless_said_otherwise(serve, device, arguments, ranks):
    result = serve(f"tiny: llama\ndevice: {device}\nrank 0: heads 0..7", *arguments)
    assert result.stderr.splitlines()[-1].startswith(f"{ranks} ")
