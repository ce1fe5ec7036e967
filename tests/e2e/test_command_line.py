"""stream-worker as typed: help, version, plans, installed configurations."""

import json
import os
import re
import socket
import subprocess

import pytest

from group import PATIENCE_SECONDS, PROJECT, STREAM_WORKER
from mpirun import FOR_MPIRUN


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
    ([], ["no model is named", "--config"]),
    (["--confg", "demo.yaml"], ["--confg"]),
    (["demo.yaml"], ["--config demo.yaml"]),
    (["/no/such/model"], ["/no/such/model", "no such directory"]),
    ([PROJECT / "models/demo/config.json"], ["a file", "a model is a directory"]),
    ([PROJECT / "models/demo", PROJECT / "models"], ["models"]),
    ([""], ["no such directory"]),
    ([PROJECT / "models/demo", "--memory", "8G"], ["--plan"]),
    ([PROJECT / "models/demo", "--plan", "--memory", "lots"], ["--memory"]),
    ([PROJECT / "models/demo", "--plan", "--memory", "0"], ["--memory"]),
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


def test_a_taken_port_is_found_before_anything_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("--config", PROJECT / "configs/demo.yaml", "--set", f"server.listen={address}")
    assert result.returncode == 6, result.stderr
    assert f"cannot listen on {address}" in result.stderr
    assert "loaded" not in result.stderr


def test_the_log_is_json_lines_where_that_is_asked_for():
    result = run("--config", PROJECT / "configs/demo.yaml", "--set", "log.format=json", "--set", "server.listen=192.0.2.1:80",
                 "--set", "server.insecure=true")
    assert result.returncode == 6, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert lines[-1]["level"] == "error"
    assert "192.0.2.1:80" in lines[-1]["message"]


def test_a_directory_without_weights_says_what_to_do():
    result = run("--config", PROJECT / "configs/llama70b.yaml")
    assert result.returncode == 3
    assert "set model.path to a checkpoint directory" in result.stderr


@pytest.mark.parametrize("other", ["tokenizer.model", "vocab.json", "tekken.json"])
def test_a_directory_with_another_tokenizer_alone_says_how_to_make_the_one_that_is_read(tmp_path, other):
    for file in ["config.json", "model.safetensors"]:
        (tmp_path / file).symlink_to(PROJECT / "models/demo" / file)
    (tmp_path / other).write_bytes(b"\n\x0e\n\x05<unk>\x15")
    result = run(tmp_path, "--set", "server.listen=127.0.0.1:0")
    assert result.returncode == 3, result.stderr
    for words in [f"{tmp_path}: has {other} but no tokenizer.json",
                  f'AutoTokenizer.from_pretrained("{tmp_path}").save_pretrained("{tmp_path}")']:
        assert words in result.stderr


def test_every_configuration_is_planned():
    for config in sorted((PROJECT / "configs").glob("*.yaml")):
        result = run("--config", config, "--plan", "--ranks", "2", "--memory", "200G")
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
    environment = os.environ | FOR_MPIRUN | {"PATH": f"{prefix}/bin:{os.environ['PATH']}"}
    result = subprocess.run(
        ["mpirun", "-np", "8", "--oversubscribe", "stream-worker", "--config", "llama70b.yaml", "--plan", "--memory", "80G"],
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


def test_all_that_starts_a_group_is_installed(prefix):
    here = {path.name for path in (PROJECT / "launch").iterdir()} - {"build", "find-nvcc", "install"}
    assert {path.name for path in (prefix / "share/sinkstream/launch").iterdir()} == here


def test_the_installed_command_serves_and_ends_in_good_order(prefix, tmp_path):
    with subprocess.Popen([prefix / "bin/stream-serve", "-np", "2", "--set", "server.listen=127.0.0.1:0"], cwd=tmp_path,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert any("listening on" in line for line in server.stderr)
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0


def test_a_directory_alone_is_a_model():
    result = run(PROJECT / "models/demo", "--plan", "--ranks", "2", "--memory", "1G")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("demo: llama, ")
    with_file = run(PROJECT / "models/demo", "--plan", "--config", PROJECT / "configs/demo.yaml", "--memory", "1G")
    assert with_file.returncode == 0, with_file.stderr
    assert "4 heads" in with_file.stdout


def test_the_directory_wins_over_the_files_path():
    arguments = ["--plan", "--memory", "200G", "--config", "configs/pythia7b.yaml"]
    named, alone = run("models/demo", *arguments, cwd=PROJECT), run(*arguments, cwd=PROJECT)
    assert (named.returncode, alone.returncode) == (0, 0), named.stderr + alone.stderr
    assert named.stdout.startswith("pythia7b: llama, 8 layers, ") and alone.stdout.startswith("pythia7b: gpt_neox, ")
    assert named.stdout.splitlines()[1] == alone.stdout.splitlines()[1], "all else is the file's, so the cache"


@pytest.mark.parametrize("inside, typed", [("demo", "."), ("demo", ".//"), ("demo/more", ".."), ("demo/more", "../."),
                                           ("", "demo///"), ("", "other/../demo/./")])
def test_a_model_is_named_by_its_directory_however_that_is_typed(tmp_path, inside, typed):
    for directory in ["demo/more", "other"]:
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
    (tmp_path / "demo/config.json").write_bytes((PROJECT / "models/demo/config.json").read_bytes())
    for arguments in [[typed], ["--set", f"model.path={typed}"]]:
        result = run(*arguments, "--plan", "--memory", "1G", cwd=tmp_path / inside)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("demo: llama, "), arguments


@pytest.mark.parametrize("arguments, fits", [
    (["--config", "llama70b.yaml", "--ranks", "8", "--memory", "80G"], True),
    (["--config", "llama70b.yaml", "--ranks", "8", "--memory", "80GB"], True),
    (["--config", "llama70b.yaml", "--ranks", "8", "--memory", "16G"], False),
    (["--config", "llama70b.yaml", "--ranks", "1", "--memory", "80G"], False),
    (["--config", "demo.yaml", "--memory", "1G", "--set", "cache.slots=5"], True),
    (["--config", "demo.yaml", "--memory", "1G", "--set", "cache.slots=5000"], False),
    (["--config", "demo.yaml", "--memory", "1000"], False),
])
def test_a_plan_ends_with_4_where_it_does_not_fit(arguments, fits):
    result = run("--plan", *arguments, cwd=PROJECT / "configs")
    assert result.returncode == (0 if fits else 4), result.stdout + result.stderr
    assert ("does not fit" in result.stdout or "too many" in result.stdout) != fits
    assert "given " in result.stdout


def test_each_setting_stands_in_the_documents_as_in_the_help():
    rows = re.findall(r"^  (\w+\.\w+) = (.*)\n      .* \(([^()]*)\)$", run("--help").stdout, re.M)
    assert len(rows) > 30
    text = (PROJECT / "docs/configuration.md").read_text()
    cells = [re.split(r"(?<!\\) \| ", line.strip("| "))[:3] for line in text.splitlines() if line.startswith("| `")]
    written = [(key.strip("`"), default.strip("`"), values.replace("\\|", "|")) for key, default, values in cells]
    assert written == rows


@pytest.mark.parametrize("arguments, words", [
    (["--confg", "demo.yaml"], ["unknown option --confg"]),
    (["--listen=0.0.0.0:80"], ["unknown option --listen=0.0.0.0:80"]),
    (["/no/such/model"], ["/no/such/model: no such directory"]),
    (["demo.yaml"], ["--config demo.yaml"]),
    ([PROJECT / "models/demo", PROJECT / "models"], ["one model"]),
    *[([option], [f"{option} needs a value"]) for option in ["-np", "--host", "--hostfile", "--config", "--set", "--memory"]],
    (["--config="], ["--config needs a value"]),
    (["--config", "--plan"], ["--config needs a value"]),
    (["-np", "x"], ['the number of ranks must be 1 or more, not "x"']),
    (["-np", "0", "--config", "demo.yaml"], ['not "0"']),
])
def test_launch_serve_names_what_it_does_not_know_before_it_builds(arguments, words):
    refuses_to_serve(arguments, words)


def test_the_environments_number_of_ranks_is_checked_too():
    refuses_to_serve([], ['the number of ranks must be 1 or more, not "two"'], {"RANKS": "two"})


def refuses_to_serve(arguments, words, variables={}):
    result = subprocess.run([PROJECT / "launch/serve", *arguments], env=os.environ | variables, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    for word in ["launch/serve: ", "--help", *words]:
        assert word in result.stderr


@pytest.mark.parametrize("variables, words", [
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, ["srun started 2 tasks", "MPI sees 1", "srun --mpi=pmix"]),
    ({"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "4"}, ["flux run started 4 tasks", "mpirun -np 4"]),
])
def test_tasks_that_do_not_know_of_one_another_do_not_serve(variables, words):
    result = run(PROJECT / "models/demo", "--set", "server.listen=127.0.0.1:0", env=os.environ | variables)
    assert result.returncode == 2, result.stderr
    for word in words:
        assert word in result.stderr
