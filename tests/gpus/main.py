#!/usr/bin/env python3
"""Checks and times the CUDA backend on a machine with a GPU.

From the project: builds, packs and runs. With --pack DIR it only packs: a folder of some megabytes that needs no network,
no MPI and no packages but Python's pytest where it is run, as DIR/gpu. Each part has a time limit; one that fails does not stop the others.
"""

import argparse
import datetime
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_SECONDS = 9 * 60  # of a part
MOST_MIB = 40  # of a pack
# Of the C library, which every machine has; the pack's own would not fit its kernel's loader. And cuBLASLt, which is
# large: a timing that wants it looks for the machine's own.
LEFT_OUT = ("ld-linux", "libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "linux-vdso", "libcublas")
CUBLAS_PLACES = ("/usr/local/cuda*/lib64", "/opt/*/.venv/lib/python3*/site-packages/nvidia/*/lib", "/usr/lib/*-linux-gnu")
CUDA_TESTS = "*/cuda:*/cuda_*-*emulated*"

# Programs of a pack, from build/release.
PROGRAMS = [
    "tests/kernels/kernels_test",
    "tests/worker/model/model_test",
    "tests/gpus/bench-matmul",
    "tests/gpus/gpu-bench",
    "worker/stream-worker",
]
MODULE = "lib/sinkstream/libsinkstream_cuda.so"
# Of the project, with the same paths.
FILES = [
    "configs/demo.yaml",
    "models/demo",
    "tests/data/models",
    "tests/e2e/test_sessions.py",
    "tests/gpus/serving",
]
CONTENT = "content.tar.xz"  # of a pack, but for its script
# OpenMPI's parts for a rank that nobody started: others need libraries of their own.
MPI_PARTS = ("/usr/lib/*-linux-gnu/openmpi/lib/openmpi3", "/usr/lib/*-linux-gnu/openmpi/lib/openmpi")
MPI_PARTS_LEFT_OUT = ("ofi", "ucx", "psm", "openib", "slurm", "flux", "java", "oshmem", "spml", "scoll", "sshmem", "memheap")


class Part:
    def __init__(self, name, commands, is_check=False, seconds=MOST_SECONDS):
        self.name = name
        self.commands = commands  # each a list of words; the first is a program of the pack, or of the system
        self.is_check = is_check  # else it only times
        self.seconds = seconds

    def commands_in(self, folder):
        return self.commands


class TestByTest(Part):
    """Each test in a process of its own, side by side: under these tools one takes seconds to minutes."""

    def __init__(self, name, words, seconds):
        super().__init__(name, [], is_check=True, seconds=seconds)
        self.words = words

    def commands_in(self, folder):
        listing = subprocess.run(in_pack(folder, ["kernels_test", "--gtest_list_tests", "--gtest_filter=*/cuda"]),
                                 capture_output=True, text=True, env=environment_of(folder), check=True).stdout
        suite, tests = "", []
        for line in listing.splitlines():
            if not line.startswith(" "):
                suite = line.strip()
            elif line.split()[0].endswith("/cuda"):
                tests.append(suite + line.split()[0])
        return [[*self.words, "kernels_test", f"--gtest_filter={test}", "--gtest_brief=1"] for test in tests]


def parts():
    sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--print-limit", "5"]
    # Small tests: under a sanitizer a kernel takes hundreds of times as long.
    few = "--gtest_filter=" + ":".join(
        f"*{name}*/cuda"
        for name in ("Norm.", "Embed.", "RotateAndStore.", "Attention.IsLike", "Matmul.NoRows", "Matmul.AColumns", "Choose.")
    )
    return [
        Part("device", [["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]], seconds=60),
        Part("kernels", [["kernels_test", f"--gtest_filter={CUDA_TESTS}", "--gtest_brief=1"]], is_check=True),
        Part("golden", [["model_test", f"--gtest_filter={CUDA_TESTS}", "--gtest_brief=1"]], is_check=True),
        Part("memcheck", [[*sanitizer, "--tool", "memcheck", "kernels_test", few, "--gtest_brief=1"]], is_check=True),
        TestByTest("synccheck", [*sanitizer, "--tool", "synccheck"], seconds=150),
        TestByTest("racecheck", [*sanitizer, "--tool", "racecheck"], seconds=150),
        Part("server", [["python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpus/serving"]], is_check=True),
        Part("matmul", [["gpu-bench", "copy"], ["bench-matmul"]], seconds=120),
        Part("attention", [["gpu-bench", "attention"]], seconds=120),
        Part("choose", [["gpu-bench", "choose"]], seconds=60),
        Part("sums", [["gpu-bench", "sums"]], seconds=30),  # checks too, between processes that share the GPU
        Part(
            "steps",
            [
                ["gpu-bench", "steps", "1b", "bf16", "1", "1,16,64"],
                ["gpu-bench", "steps", "7b", "bf16", "1", "1,16,64"],
                ["gpu-bench", "steps", "7b", "int8", "1", "1,16,64"],
                ["gpu-bench", "steps", "7b", "int4", "1", "1,16,64"],
                ["gpu-bench", "steps", "70b", "bf16", "8", "1,16", "2000"],
                ["gpu-bench", "steps", "70b", "bf16", "8", "1", "4000000"],
                ["gpu-bench", "steps", "70b", "int4", "8", "1,16", "2000"],
            ],
        ),
    ]


def libraries_of(program):
    """Shared libraries that a program needs, but for the C library's."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [line.split("=>")[1].split()[0] for line in listing.splitlines() if "=> /" in line]
    return [path for path in paths if not Path(path).name.startswith(LEFT_OUT)]


def pack(project, folder):
    """All that is needed, in `folder`."""
    build = project / "build" / "release"
    for name in ("bin", "lib", "tests", "configs", "models"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / "openmpi").mkdir(parents=True)
    for program in PROGRAMS:
        if not (build / program).exists():
            print(f"not built, so not packed: {program}")
            continue
        target = folder / "bin" / Path(program).name
        shutil.copy(build / program, target)
        subprocess.run(["strip", target], check=True)
        for library in libraries_of(build / program):
            shutil.copy(library, folder / "lib" / Path(library).name)
    for place in MPI_PARTS:
        for part in glob.glob(f"{place}/mca_*.so"):
            if not any(name in Path(part).name for name in MPI_PARTS_LEFT_OUT):
                shutil.copy(part, folder / "lib" / "openmpi")
    shutil.copy(build / MODULE, folder / "bin")
    for path in FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (project / path).is_dir() else shutil.copy)(project / path, folder / path)
    shutil.copy(HERE / "main.py", folder / "gpu")
    (folder / "gpu").chmod(0o755)
    commit = subprocess.run(["git", "-C", project, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
    (folder / "commit").write_text(commit or "unknown\n")


def compress(folder):
    """Leaves a script and an archive, which the script unpacks when it is run."""
    inside = sorted(path for path in folder.iterdir() if path.name not in ("gpu", CONTENT))
    with tarfile.open(folder / CONTENT, "w:xz", preset=3) as archive:
        for path in inside:
            archive.add(path, path.name)
    for path in inside:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    mebibytes = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"{folder}: {mebibytes:.1f} MiB")
    if mebibytes > MOST_MIB:
        sys.exit(f"tests/gpu: the pack is larger than {MOST_MIB} MiB")


def in_pack(folder, command):
    """The command with the pack's programs by their paths."""
    return [str(folder / "bin" / word) if (folder / "bin" / word).is_file() else word for word in command]


def folders_of_cublas():
    found = [path for place in CUBLAS_PLACES for path in glob.glob(f"{place}/libcublasLt.so.1[3-9]")]
    return [str(Path(path).parent) for path in found]


def environment_of(folder):
    return os.environ | {
        "LD_LIBRARY_PATH": ":".join([str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", ""), *folders_of_cublas()]),
        "SINKSTREAM_TEST_PROJECT": str(folder),
        # A rank that nobody started, without MPI's own programs.
        "OMPI_MCA_mca_base_component_path": str(folder / "lib" / "openmpi"),
        "OMPI_MCA_ess_singleton_isolated": "1",
    }


def run_command(folder, command, log, seconds):
    """The exit status, or what else became of it."""
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    try:
        return subprocess.run(in_pack(folder, command), stdout=log, stderr=log, env=environment_of(folder),
                              timeout=max(1, seconds), cwd=folder).returncode
    except subprocess.TimeoutExpired:
        return "ran out of time"
    except OSError as error:
        return str(error)


def run_side_by_side(folder, commands, log, end):
    """The results; each command's output goes to the log when it has ended."""
    def run_one(command):
        with tempfile.TemporaryFile("w+") as output:
            result = run_command(folder, command, output, end - time.monotonic())
            output.seek(0)
            log.write(f"{output.read()}-> {result}\n")
        return result

    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) - 2)) as pool:
        return list(pool.map(run_one, commands))


def run_part(folder, output, part):
    """Whether all of its commands ended well."""
    begin = time.monotonic()
    path = output / f"{part.name}.log"
    with path.open("w") as log:
        commands = part.commands_in(folder)
        if isinstance(part, TestByTest):
            results = run_side_by_side(folder, commands, log, begin + part.seconds)
        else:
            results = []
            for command in commands:
                results.append(run_command(folder, command, log, part.seconds - (time.monotonic() - begin)))
                log.write(f"-> {results[-1]}\n")
                log.flush()
    bad = [f"{result}: {command[-2] if len(commands) > 1 else command[0]}"
           for command, result in zip(commands, results) if result != 0]
    if part.is_check and (not commands or "] 0 tests from" in path.read_text(errors="replace")):
        bad.append("no test was run: is there a GPU?")
    print(f"== {part.name}: {f'FAILED, {len(bad)} of {len(results)}' if bad else 'ok'} after {time.monotonic() - begin:.0f} s", flush=True)
    for line in bad[:10]:
        print(f"   {line}", flush=True)
    lines = path.read_text(errors="replace").splitlines()
    for line in lines[-60:] if not bad and not part.is_check else lines[-25:]:
        print(f"   {line}", flush=True)
    return not bad


def main():
    parser = argparse.ArgumentParser(prog="tests/gpu", description=__doc__)
    parser.add_argument("--pack", metavar="DIR", type=Path, help="pack what is built into DIR, and run nothing")
    parser.add_argument("--parts", help=f"of {','.join(part.name for part in parts())}; default: all")
    parser.add_argument("--output", type=Path, help="where logs go (default: results beside this script or in the build)")
    options = parser.parse_args()

    folder = HERE
    if (HERE / CONTENT).is_file():
        with tarfile.open(HERE / CONTENT) as archive:
            archive.extractall(HERE, filter="data")
    elif not (HERE / "bin").is_dir():  # the project, not a pack
        project = HERE.parent.parent
        folder = options.pack or project / "build" / "gpu-pack"
        pack(project, folder)
        if options.pack:
            compress(folder)
            return 0
    output = options.output or folder / "results"
    output.mkdir(parents=True, exist_ok=True)
    wanted = options.parts.split(",") if options.parts else [part.name for part in parts()]
    print(f"commit {(folder / 'commit').read_text().strip()}, {datetime.datetime.now():%Y-%m-%d %H:%M}", flush=True)
    failed = [part.name for part in parts() if part.name in wanted and not run_part(folder, output, part)]
    print("all parts ended well" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
