"""Scripts pass bash and shellcheck, the sbatch file does what it says, and what Kubernetes gets fits its schemas."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
SCHEMAS = PROJECT / "tests/data/kubernetes"
SCRIPTS = [path for path in sorted((PROJECT / "launch").iterdir()) if path.suffix in ("", ".sbatch")]


def documents(name):
    return list(yaml.safe_load_all((PROJECT / "launch" / name).read_text()))


def closed(schema):
    """The schema with objects that may hold nothing it does not name: the API server drops such fields silently."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        result.setdefault("additionalProperties", False)
    return result


def validator(kind):
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text())
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(closed(schema))


def pod_templates(node):
    """All pod templates in a resource."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        for part in node.values():
            yield from pod_templates(part)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts(script):
    subprocess.run(["bash", "-n", script], check=True, timeout=60)
    subprocess.run(["shellcheck", "--severity", "warning", script], check=True, timeout=60)


@pytest.mark.parametrize("name, kind", [("leaderworkerset.yaml", "LeaderWorkerSet"), ("mpijob.yaml", "MPIJob")])
def test_resources_fit_their_schemas(name, kind):
    resource = documents(name)[0]
    assert resource["kind"] == kind
    assert [error.message for error in validator(kind).iter_errors(resource)] == []
    misspelt = copy.deepcopy(resource)
    next(pod_templates(misspelt))["spec"]["containers"][0]["volumeMount"] = []
    assert not validator(kind).is_valid(misspelt)


@pytest.mark.parametrize("name", ["leaderworkerset.yaml", "mpijob.yaml"])
def test_pods_mount_what_they_have_and_their_scripts_are_bash(name):
    for template in pod_templates(documents(name)[0]):
        spec = template["spec"]
        container, = spec["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        if container["command"][0] == "bash":
            script = "#!/bin/bash\n" + container["command"][2]
            subprocess.run(["shellcheck", "--severity", "warning", "-"], input=script, text=True, check=True, timeout=60)


def test_the_whole_group_begins_anew_and_the_service_finds_its_leader():
    group, service = documents("leaderworkerset.yaml")
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["restartPolicy"] == "RecreateGroupOnPodRestart"
    labels = template["leaderTemplate"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert not service["spec"]["selector"].items() <= template["workerTemplate"]["metadata"]["labels"].items()
    ports = template["leaderTemplate"]["spec"]["containers"][0]["ports"]
    assert service["spec"]["ports"][0]["targetPort"] in [port["name"] for port in ports]


def fake(directory, name, text):
    path = directory / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_the_leader_of_a_leaderworkerset_names_all_hosts(tmp_path):
    script = documents("leaderworkerset.yaml")[0]["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]
    fake(tmp_path, "ssh", "true")
    fake(tmp_path, "stream-serve", 'echo "$@"')
    result = subprocess.run(script["command"], capture_output=True, text=True, check=True, timeout=60, env={
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "LWS_GROUP_SIZE": "3", "LWS_LEADER_ADDRESS": "sinkstream-0.sinkstream.default"})
    hosts = ",".join(f"sinkstream-0{index}.sinkstream.default:1" for index in ["", "-1", "-2"])
    assert result.stdout.startswith(f"-np 3 --host {hosts} --config demo.yaml ")


@pytest.fixture
def slurm(tmp_path):
    """A directory as Slurm's batch step sees it, whose srun and run-group say what they were asked."""
    (tmp_path / "launch").mkdir()
    shutil.copy(PROJECT / "launch/slurm.sbatch", tmp_path / "launch")
    fake(tmp_path / "launch", "run-group", 'echo "run-group $*"')
    fake(tmp_path, "srun", 'trap "echo drained; exit 0" USR1; echo "srun $*"; touch "${STARTED:-/dev/null}"; for _ in {1..600}; do sleep 0.1; done; exit 9')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path),
                                "SLURM_NTASKS": "4", "STREAM_WORKER": "/opt/stream-worker"}

    def start(*arguments, **variables):
        return subprocess.Popen([tmp_path / "launch/slurm.sbatch", *arguments], env=environment | variables, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


def test_slurm_with_mpirun(slurm):
    with slurm("mpirun", "llama.yaml", "--set", "server.insecure=true") as job:
        assert job.stdout.read() == "run-group 4 /opt/stream-worker --config llama.yaml --set server.insecure=true\n"
        assert job.wait(60) == 0


def test_slurm_with_srun_drains_on_sigterm(slurm):
    with slurm("srun", "llama.yaml") as job:
        line = job.stdout.readline()
        assert re.fullmatch(r"srun --mpi=pmix .*/opt/stream-worker --config llama.yaml\n", line)
        job.send_signal(signal.SIGTERM)
        assert job.stdout.read() == "drained\n"
        assert job.wait(60) == 0


# bash runs this before each command of the sbatch file: just before it learns the number of the srun that has started, it
# is asked to drain.
TOO_EARLY = r"""trap '[[ $BASH_COMMAND != "step=\$!" ]] || { until [[ -e $STARTED ]]; do sleep 0.01; done; kill -TERM $$; }' DEBUG
"""


def test_slurm_with_srun_drains_however_early_it_is_asked(slurm, tmp_path):
    (tmp_path / "early").write_text(TOO_EARLY)
    with slurm("srun", "llama.yaml", BASH_ENV=str(tmp_path / "early"), STARTED=str(tmp_path / "started")) as job:
        assert job.stdout.read().endswith("drained\n")
        assert job.wait(60) == 0


@pytest.mark.parametrize("form", ["mpirun", "srun"])
def test_slurm_serves_with_what_is_installed(slurm, tmp_path, form):
    installed = tmp_path / "prefix"
    for directory in ["bin", "share/sinkstream/launch", "elsewhere"]:
        (installed / directory).mkdir(parents=True)
    fake(installed / "bin", "stream-worker", "")
    fake(installed / "share/sinkstream/launch", "run-group", 'echo "run-group $*"')
    with slurm(form, "llama.yaml", SLURM_SUBMIT_DIR=str(installed / "elsewhere"), STREAM_WORKER="",
               PATH=f"{installed}/bin:{tmp_path}:{os.environ['PATH']}") as job:
        assert f" {installed}/bin/stream-worker --config llama.yaml\n" in job.stdout.readline()
        job.send_signal(signal.SIGTERM)


def test_slurm_refuses_to_serve_with_nothing(slurm, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ["bash", "dirname", "env"]:
        (tools / name).symlink_to(f"/usr/bin/{name}")
    with slurm("mpirun", "llama.yaml", SLURM_SUBMIT_DIR="/nowhere", STREAM_WORKER="", PATH=str(tools)) as job:
        assert "nor installed" in job.stdout.read()
        assert job.wait(60) == 2


def test_slurm_refuses_another_form(slurm):
    with slurm("mpiexec", "llama.yaml") as job:
        assert "neither mpirun nor srun" in job.stdout.read()
        assert job.wait(60) == 2
