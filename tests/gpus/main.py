#!/usr/bin/env python3
"""Checks and times the CUDA backend on a machine with a GPU.

From the project: builds, packs and runs. With --pack DIR it only packs: a folder of a few megabytes that needs no network,
no MPI and no packages where it is run, as DIR/gpu. Each part has a time limit; one that fails does not stop the others.
"""

import argparse
import datetime
import glob
import os
import shutil
import subprocess
import sys
import time
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
    "tests/gpus/bench-copy",
    "tests/gpus/bench-matmul",
    "tests/gpus/bench-attention",
    "tests/gpus/bench-choose",
    "tests/gpus/bench-steps",
    "tests/gpus/bench-sums",
]
MODULE = "lib/sinkstream/libsinkstream_cuda.so"


class Part:
    def __init__(self, name, commands, is_check=False, seconds=MOST_SECONDS):
        self.name = name
        self.commands = commands  # each a list of words; the first is a program of the pack, or of the system
        self.is_check = is_check  # else it only times
        self.seconds = seconds


def parts():
    sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--print-limit", "5"]
    # Small tests: under a sanitizer a kernel takes hundreds of times as long.
    few = "--gtest_filter=" + ":".join(
        f"*{name}*/cuda"
        for name in ("Norm.", "Embed.", "RotateAndStore.", "Attention.IsLike", "Matmul.NoRows", "Matmul.AColumns", "Choose.")
    )
    fewer = "--gtest_filter=*Norm.*/cuda:*Embed.*/cuda:*RotateAndStore.*/cuda:*Matmul.AColumns*/cuda"
    return [
        Part("device", [["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]], seconds=60),
        Part("kernels", [["kernels_test", f"--gtest_filter={CUDA_TESTS}", "--gtest_brief=1"]], is_check=True),
        Part("golden", [["model_test", f"--gtest_filter={CUDA_TESTS}", "--gtest_brief=1"]], is_check=True),
        Part("memcheck", [[*sanitizer, "--tool", "memcheck", "kernels_test", few, "--gtest_brief=1"]], is_check=True),
        # These take minutes where memcheck takes seconds.
        Part("synccheck", [[*sanitizer, "--tool", "synccheck", "kernels_test", fewer, "--gtest_brief=1"]], is_check=True),
        Part("racecheck", [[*sanitizer, "--tool", "racecheck", "kernels_test", fewer, "--gtest_brief=1"]], is_check=True),
        Part("matmul", [["bench-copy"], ["bench-matmul"]], seconds=120),
        Part("attention", [["bench-attention"]], seconds=120),
        Part("choose", [["bench-choose"]], seconds=60),
        Part("sums", [["bench-sums"]], seconds=30),  # checks too, between processes that share the GPU
        Part(
            "steps",
            [
                ["bench-steps", "1b", "bf16", "1", "1,16,64"],
                ["bench-steps", "7b", "bf16", "1", "1,16,64"],
                ["bench-steps", "7b", "int8", "1", "1,16,64"],
                ["bench-steps", "7b", "int4", "1", "1,16,64"],
                ["bench-steps", "70b", "bf16", "8", "1,16", "2000"],
                ["bench-steps", "70b", "bf16", "8", "1", "4000000"],
                ["bench-steps", "70b", "int4", "8", "1,16", "2000"],
            ],
        ),
    ]


def libraries_of(program):
    """Shared libraries that a program needs, but for the C library's."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [line.split("=>")[1].split()[0] for line in listing.splitlines() if "=> /" in line]
    return [path for path in paths if not Path(path).name.startswith(LEFT_OUT)]


def pack(project, folder):
    build = project / "build" / "release"
    for name in ("bin", "lib", "tests"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    for program in PROGRAMS:
        if not (build / program).exists():
            print(f"not built, so not packed: {program}")
            continue
        target = folder / "bin" / Path(program).name
        shutil.copy(build / program, target)
        subprocess.run(["strip", target], check=True)
        for library in libraries_of(build / program):
            shutil.copy(library, folder / "lib" / Path(library).name)
    shutil.copy(build / MODULE, folder / "bin")
    shutil.copytree(project / "tests" / "data" / "models", folder / "tests" / "data" / "models")
    shutil.copy(HERE / "main.py", folder / "gpu")
    (folder / "gpu").chmod(0o755)
    commit = subprocess.run(["git", "-C", project, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
    (folder / "commit").write_text(commit or "unknown\n")
    mebibytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    print(f"{folder}: {mebibytes:.1f} MiB")
    if mebibytes > MOST_MIB:
        sys.exit(f"tests/gpu: the pack is larger than {MOST_MIB} MiB")


def in_pack(folder, command):
    """The command with the pack's programs by their paths."""
    return [str(folder / "bin" / word) if (folder / "bin" / word).is_file() else word for word in command]


def folders_of_cublas():
    found = [path for place in CUBLAS_PLACES for path in glob.glob(f"{place}/libcublasLt.so.1[3-9]")]
    return [str(Path(path).parent) for path in found]


def run_command(folder, command, log, seconds):
    """The exit status, or what else became of it."""
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join([str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", ""), *folders_of_cublas()]),
        "SINKSTREAM_TEST_PROJECT": str(folder),
    }
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    try:
        return subprocess.run(in_pack(folder, command), stdout=log, stderr=log, env=environment, timeout=max(1, seconds)).returncode
    except subprocess.TimeoutExpired:
        return "ran out of time"
    except OSError as error:
        return str(error)


def run_part(folder, output, part):
    """Whether all of its commands ended well."""
    begin = time.monotonic()
    path = output / f"{part.name}.log"
    results = []
    with path.open("w") as log:
        for command in part.commands:
            results.append(run_command(folder, command, log, part.seconds - (time.monotonic() - begin)))
            log.write(f"-> {results[-1]}\n")
            log.flush()
    ok = all(result == 0 for result in results)
    failed = "" if ok else f"FAILED ({', '.join(str(result) for result in results if result != 0)})"
    print(f"== {part.name}: {failed or 'ok'} after {time.monotonic() - begin:.0f} s", flush=True)
    lines = path.read_text(errors="replace").splitlines()
    for line in lines[-60:] if ok and not part.is_check else lines[-25:]:
        print(f"   {line}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(prog="tests/gpu", description=__doc__)
    parser.add_argument("--pack", metavar="DIR", type=Path, help="pack what is built into DIR, and run nothing")
    parser.add_argument("--parts", help=f"of {','.join(part.name for part in parts())}; default: all")
    parser.add_argument("--output", type=Path, help="where logs go (default: results beside this script or in the build)")
    options = parser.parse_args()

    folder = HERE
    if not (HERE / "bin").is_dir():  # the project, not a pack
        project = HERE.parent.parent
        folder = options.pack or project / "build" / "gpu-pack"
        pack(project, folder)
        if options.pack:
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
