"""Where a group runs: on some of the CPUs, in a container, under either OpenMPI."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from group import PATIENCE_SECONDS, PROJECT, Group
from mpirun import FOR_MPIRUN
from processes import cpus_of

CPUS = os.sched_getaffinity(0)
LAST_CPU = str(max(CPUS))
PINNED = ["taskset", "-c", LAST_CPU]
MPIRUN = ["mpirun", "-np", "1"]

several_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="this machine has one CPU")


def cpus_of_ranks(launcher, num_ranks=1):
    with Group(launcher=launcher, num_ranks=num_ranks) as group:
        client = group.wait_until_listening().connect()
        client.completions.create(model="demo", prompt="Once", max_tokens=4)
        return [cpus_of(pid) for pid in group.ranks]


@several_cpus
@pytest.mark.parametrize("launcher, num_ranks", [
    ([*PINNED, *MPIRUN], 1),
    ([*PINNED, "mpirun", "-np", "2", "--oversubscribe"], 2),
    ([*PINNED, PROJECT / "launch/run-group", "2"], 2),
    ([*MPIRUN, *PINNED], 1),
    ([*MPIRUN, "nice", "-n", "1", *PINNED], 1),
], ids=["taskset", "taskset, two ranks", "taskset run-group", "taskset of the rank", "taskset behind nice"])
def test_threads_stay_on_the_cpus_that_taskset_gave(launcher, num_ranks):
    assert cpus_of_ranks(launcher, num_ranks) == [{int(LAST_CPU)}] * num_ranks


@several_cpus
@pytest.mark.parametrize("options", [["--cpu-set", "0"], ["--bind-to", "core"]], ids=" ".join)
def test_threads_stay_on_the_cpus_that_mpirun_was_told_to_give(options):
    launcher = [*MPIRUN, *options]
    program = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    given = subprocess.check_output([*launcher, *program], env=os.environ | FOR_MPIRUN, stdin=subprocess.DEVNULL, text=True,
                                    timeout=PATIENCE_SECONDS)
    assert cpus_of_ranks(launcher) == [set(map(int, given.split()))]


@several_cpus
def test_the_one_core_that_mpirun_chose_is_widened():
    assert cpus_of_ranks(MPIRUN) == [CPUS]


def test_a_container_without_process_vm_readv_is_served_quietly():
    launcher = [sys.executable, PROJECT / "tests/e2e/confined.py", "mpirun", "-np", "2", "--oversubscribe",
                "--bind-to", "none"]
    with Group(launcher=launcher) as group:
        client = group.wait_until_listening().connect()
        # Long enough that ranks exchange what is too large to be sent at once.
        client.completions.create(model="demo", prompt="It was a long way. " * 200, max_tokens=4)
        lines = group.log().splitlines()
    assert [line for line in lines if not re.match(r"\[\d{4}-\d\d-\d\d ", line)] == []


def output_of_mpirun(directory, script):
    """What a stand-in for mpirun says under launch/run-group."""
    mpirun = directory / "mpirun"
    mpirun.write_text("#!/bin/sh\n" + script)
    mpirun.chmod(0o755)
    result = subprocess.run(
        [PROJECT / "launch/run-group", "1", "worker"], env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_either_openmpi_is_told_to_say_nothing_of_its_own(tmp_path):
    said = output_of_mpirun(tmp_path, "env\n")
    assert {"OMPI_MCA_orte_execute_quiet=1", "PRTE_MCA_prte_execute_quiet=1"} <= set(said)


# In one that several groups share, the end of one can keep another from starting.
def test_mpirun_has_a_folder_of_its_own_while_it_runs(tmp_path):
    folders = {Path(*output_of_mpirun(tmp_path, '[ -d "$TMPDIR" ] && touch "$TMPDIR/left" && echo "$TMPDIR"\n'))
               for _ in range(2)}
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)
