"""stream-worker as typed: help, version, plans, installed configurations."""

import os
import re
import subprocess

import pytest

from group import PATIENCE_SECONDS, PROJECT, STREAM_WORKER


def run(*arguments, **options):
    return subprocess.run(
        [STREAM_WORKER, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, **options)


def test_help_lists_every_section_and_the_exit_codes():
    result = run("--help")
    assert result.returncode == 0
    for word in ["--config", "--set", "--plan", "cache.mode = sink", "engine.max_queue", "server.listen", "Exit codes"]:
        assert word in result.stdout


def test_version_names_what_it_is_built_of():
    result = run("--version")
    assert result.returncode == 0
    for word in ["stream-worker ", "compiler", "MPI", "instruction set"]:
        assert word in result.stdout


@pytest.mark.parametrize("arguments, words", [
    ([], ["--config"]),
    (["--config", "demo.yaml", "--confg"], ["--confg"]),
    (["--config", PROJECT / "configs/demo.yaml", "--ranks", "0", "--plan"], ["--ranks"]),
    (["--config", "nothing.yaml"], ["nothing.yaml"]),
    (["--config", PROJECT / "configs/demo.yaml", "--plan", "--ranks", "5"], ["5 ranks"]),
    (["--config", PROJECT / "configs/demo.yaml", "--plan", "--set", "server.listen=0.0.0.0:80"], ["api_key_file"]),
    (["--config", PROJECT / "configs/demo.yaml", "--set", "server.api_key_file=/nothing"], ["/nothing"]),
    (["--config", PROJECT / "configs/demo.yaml", "--set", "server.listen=127.0.0.1:99999"], ["server.listen"]),
])
def test_bad_command_lines_end_with_2_before_anything_is_loaded(arguments, words):
    result = run(*arguments)
    assert result.returncode == 2, result.stderr
    for word in words:
        assert word in result.stderr
    assert "loaded" not in result.stderr


def test_a_directory_without_weights_says_what_to_do():
    result = run("--config", PROJECT / "configs/llama70b.yaml")
    assert result.returncode == 3
    assert "set model.path to a checkpoint directory" in result.stderr


def test_every_configuration_is_planned():
    for config in sorted((PROJECT / "configs").glob("*.yaml")):
        result = run("--config", config, "--plan", "--ranks", "2")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(config.stem + ": ")
        assert "rank 1: heads" in result.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where `cmake --install` has put everything."""
    prefix = tmp_path_factory.mktemp("prefix")
    build = STREAM_WORKER.parents[1]
    subprocess.run(
        ["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    return prefix


def test_installed_configurations_are_found_by_name(prefix, tmp_path):
    environment = os.environ | {"PATH": f"{prefix}/bin:{os.environ['PATH']}", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                                "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    result = subprocess.run(
        ["mpirun", "-np", "8", "--oversubscribe", "stream-worker", "--config", "llama70b.yaml", "--plan"],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("rank 7: heads 56..63") == 1, "one rank speaks"


def test_the_licence_and_the_documents_are_installed(prefix):
    documents = prefix / "share/doc/sinkstream"
    assert (documents / "LICENSE").read_text() == (PROJECT / "LICENSE").read_text()
    links = re.findall(r"\]\(((?:docs/|CONTRIBUTING)[^)#]*)", (documents / "README.md").read_text())
    assert len(links) > 5
    for link in links:
        assert (documents / link).exists(), link


def test_the_installed_command_serves_and_ends_in_good_order(prefix, tmp_path):
    with subprocess.Popen([prefix / "bin/stream-serve", "-np", "2", "--set", "server.listen=127.0.0.1:0"], cwd=tmp_path,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert any("listening on" in line for line in server.stderr)
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0
