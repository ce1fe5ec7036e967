"""The peers, installed into build/peers: llama.cpp compiled for this machine, and a program that times oneDNN."""

import json
import os
import subprocess
import sys
from pathlib import Path

from comparison.speed import CONFIG
from comparison.trees import PROJECT, Failed

WORK = PROJECT / "build/peers"
HERE = Path(__file__).parent
PYTHON = WORK / "venv/bin/python"
LLAMA_CPP = "llama-cpp-python==0.3.36"
PACKAGES = ["gguf==0.19.0", "numpy", "typing-extensions", "jinja2", "diskcache"]  # the others for llama_cpp's own imports
SOURCE, BUILT = WORK / "source", WORK / "llama.cpp"
# Without AMX: its kernels for that crashed on the machines that have it.
CMAKE_ARGS = ("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=ON", "-DGGML_AMX_TILE=OFF",
              "-DGGML_AMX_INT8=OFF", "-DGGML_AMX_BF16=OFF", "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_TOOLS=OFF",
              "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TESTS=OFF")


def run(command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if result.returncode:
        raise Failed(f"{' '.join(map(str, command))}: {(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout


def install():
    """Quick when nothing is missing."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        run([sys.executable, "-m", "venv", WORK / "venv"])
        run([PYTHON, "-m", "pip", "install", *PACKAGES])
    if not (SOURCE / "llama_cpp").exists():
        run([PYTHON, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "--dest", WORK, LLAMA_CPP])
        archive = WORK / (LLAMA_CPP.replace("-", "_").replace("==", "-") + ".tar.gz")
        SOURCE.mkdir(exist_ok=True)
        run(["tar", "xf", archive, "-C", SOURCE, "--strip-components=1"])
    if not (BUILT / "bin/libllama.so").exists():
        print("Compiling llama.cpp into build/peers, for some minutes", flush=True)
        run(["cmake", "-S", SOURCE / "vendor/llama.cpp", "-B", BUILT, *CMAKE_ARGS])
        run(["cmake", "--build", BUILT, "--target", "llama"])  # no more of it than the library
    program, source = WORK / "onednn_gemm", HERE / "onednn_gemm.cpp"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        try:
            run(["g++", "-std=c++20", "-O2", source, "-o", program, "-ldnnl"])
        except Failed as failure:
            raise Failed(f"{failure}\noneDNN is Debian's libdnnl-dev: apt-get install libdnnl-dev") from failure


def gguf_model(kind):
    """The file of the 1.1B Llama, made once."""
    file, config = WORK / f"llama-1.1b-{kind}.gguf", WORK / "llama-1.1b.json"
    if not file.exists():
        config.write_text(json.dumps(CONFIG))
        unfinished = file.with_suffix(".unfinished")
        run([PYTHON, HERE / "write_gguf.py", unfinished, kind, config])
        unfinished.rename(file)
    return file


def time_llama_cpp(kind, threads, prompt, streams, steps):
    library = str(BUILT / "bin")
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "LLAMA_CPP_LIB_PATH": library, "LD_LIBRARY_PATH": library}
    return json.loads(run([PYTHON, HERE / "time_llama_cpp.py", gguf_model(kind), "--threads", threads, "--prompt", prompt,
                           "--streams", ",".join(map(str, streams)), "--steps", steps], env=environment))


def time_onednn(threads, rows, width, features):
    """GFLOP/s."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return float(run([WORK / "onednn_gemm", rows, width, features], env=environment))
