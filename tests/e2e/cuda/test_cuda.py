"""Which device ranks take, on machines whose GPUs are made up: no GPU is needed, and none computes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from group import PATIENCE_SECONDS, PROJECT, STREAM_WORKER
from mpirun import FOR_MPIRUN

MODULE = Path(os.environ["MADE_UP_GPUS_MODULE"])
NEW_DRIVER = "13000 580.65.06"
H100 = "90 80 79 NVIDIA H100 80GB HBM3"
A100 = "80 80 79 NVIDIA A100-SXM4-80GB"


def gpus(*kinds):
    return "\n".join(f"gpu-{number} {kind}" for number, kind in enumerate(kinds))


@pytest.fixture
def run(tmp_path):
    """Runs stream-worker with the made up module in its lib folder; `each`: what a shell does first in each rank."""
    shutil.copy(STREAM_WORKER, tmp_path)
    (tmp_path / "lib/sinkstream").mkdir(parents=True)
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.move(tmp_path / STREAM_WORKER.name, folder)
    shutil.copy(MODULE, tmp_path / "lib/sinkstream/libsinkstream_cuda.so")

    environment = os.environ | {"MADE_UP_GPUS": gpus(H100), "MADE_UP_DRIVER": NEW_DRIVER}
    version = subprocess.run([folder / STREAM_WORKER.name, "--version"], capture_output=True, text=True, env=environment,
                             timeout=PATIENCE_SECONDS)
    assert "cuda (0: NVIDIA H100" in version.stdout, "else it would serve, on the CPU"

    def start(*arguments, ranks=1, each="", found=gpus(H100), driver=NEW_DRIVER, **environment):
        worker = [folder / STREAM_WORKER.name, "--config", PROJECT / "configs/demo.yaml",
                  "--set", "server.listen=127.0.0.1:0", *arguments]
        if ranks > 1:
            worker = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks),
                      "sh", "-c", each + ' exec "$@"', "sh", *worker]
        return subprocess.run(worker, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS,
                              env=os.environ | FOR_MPIRUN | {"MADE_UP_GPUS": found, "MADE_UP_DRIVER": driver} | environment)

    return start


def assert_refuses(result, *parts, code=4):
    assert result.returncode == code, result.stderr
    for part in parts:
        assert part in result.stderr


def test_auto_takes_a_gpu_and_says_so(run):
    result = run()
    assert "device: cuda\n" in result.stderr
    assert_refuses(result, "ranks on GPUs 0, over NCCL, which are made up")


def test_auto_says_why_it_takes_the_cpu(run):
    too_many = ["--set", "cache.window_tokens=16777216", "--set", "cache.slots=65536"]  # ends it at once
    result = run(*too_many, found="", driver="12040 550.54.14")
    assert_refuses(result, "device: cpu, since the NVIDIA driver 550.54.14 does CUDA 12.4 at most", "driver 580 or newer")
    assert "device: cpu" in run("--plan", found="").stdout
    assert "device: cuda" in run("--plan").stdout


@pytest.mark.parametrize("found, driver, reason", [
    ("", "0", "there is no NVIDIA driver here"),
    ("", "12080 570.1", "driver 580 or newer"),
    ("", NEW_DRIVER, "no GPU is to be seen"),
    (gpus("75 16 15 Tesla T4"), NEW_DRIVER, "the Tesla T4 has compute capability 7.5, and needed is 8.0"),
], ids=["no driver", "old driver", "no GPU", "old GPU"])
def test_a_gpu_that_was_asked_for_and_is_not_there(run, found, driver, reason):
    for plan in [[], ["--plan"]]:
        assert_refuses(run("--set", "parallel.device=cuda", *plan, found=found, driver=driver), reason)


def test_each_rank_has_a_gpu_of_its_own(run):
    assert_refuses(run(ranks=3, found=gpus(H100, H100, H100, H100)), "ranks on GPUs 0 1 2, over NCCL")


def test_a_launcher_may_show_each_rank_its_own(run):
    own = f'export MADE_UP_GPUS="gpu-$OMPI_COMM_WORLD_RANK {H100}";'
    assert_refuses(run(ranks=3, each=own), "ranks on GPUs 0 0 0, over NCCL")


def test_fewer_gpus_than_ranks(run):
    assert_refuses(run(ranks=3, found=gpus(H100, H100)), "3 ranks, and 2 GPU(s)", "parallel.communicator: shm or mpi")
    assert_refuses(run("--set", "parallel.communicator=mpi", ranks=3, found=gpus(H100, H100)),
                   "ranks on GPUs 0 1 0, through the host")
    assert_refuses(run("--plan", "--ranks", "3", found=gpus(H100, H100)), "3 ranks, and 2 GPU(s)")


def test_gpus_of_two_kinds(run):
    assert_refuses(run(ranks=2, found=gpus(H100, A100)), "rank 1 is on a NVIDIA A100-SXM4-80GB, rank 0 on a NVIDIA H100")
    assert_refuses(run(ranks=2, found=gpus(A100, A100)), "ranks on GPUs 0 1")


def test_a_rank_without_a_gpu_ends_all(run):
    only_the_leader_has_one = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || unset MADE_UP_GPUS;'
    assert_refuses(run("--set", "parallel.device=cuda", ranks=2, each=only_the_leader_has_one), "no GPU is to be seen")
    assert_refuses(run(ranks=2, each=only_the_leader_has_one), "rank 1", "parallel.device", code=3)


def test_too_little_memory_says_how_much_and_what_would_fit(run):
    result = run(found=gpus("90 80 1 NVIDIA H100 80GB HBM3"))
    assert_refuses(result, "not enough memory on rank 0", "are missing; ")
    result = run("--set", "cache.slots=65536", found=gpus("90 80 3 NVIDIA H100 80GB HBM3"))
    assert_refuses(result, "65536 session(s)", "it fits with cache.slots: ")


def test_a_plan_for_gpus_needs_none(run):
    result = run("--plan", "--memory", "75G", "--set", "parallel.device=cuda", driver="0")
    assert result.returncode == 0 and "device: cuda\n" in result.stdout


def test_a_module_of_another_build(run):
    assert_refuses(run("--set", "parallel.device=cuda", MADE_UP_INTERFACE="0.0.9-abc"), "is of another build (0.0.9-abc)")
    assert "is of another build" in run("--version", MADE_UP_INTERFACE="0.0.9-abc").stdout


def test_the_module_of_this_build_can_be_loaded():
    if not (STREAM_WORKER.parents[1] / "lib/sinkstream/libsinkstream_cuda.so").exists():
        pytest.skip("built without CUDA (launch/build --cuda)")
    text = subprocess.run([STREAM_WORKER, "--version"], capture_output=True, text=True, timeout=PATIENCE_SECONDS).stdout
    assert "cuda (" in text and not re.search("cannot be loaded|another build|no CUDA backend", text)


def test_nccl_goes_between_gpus_only(run):
    assert_refuses(run("--set", "parallel.communicator=nccl", "--set", "parallel.device=cpu"),
                   "parallel.communicator: nccl goes between GPUs", code=2)
