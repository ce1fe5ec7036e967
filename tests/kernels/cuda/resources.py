"""Registers, stack and spills of the CUDA backend's kernels, as ptxas counted them when a folder was built:

    python3 tests/kernels/cuda/resources.py [build/release]

A kernel that spills registers to memory fails, unless known_spills.txt has a line for it: the compute capability and a
part of its name.
"""

import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

KNOWN = Path(__file__).with_name("known_spills.txt")

Kernel = namedtuple("Kernel", "name architecture registers stack spilled")

COMPILING = re.compile(r"ptxas info\s*: Compiling entry function '(\S+)' for '(\S+)'")
MEMORY = re.compile(r"\s*(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"ptxas info\s*: Used (\d+) registers")


def read_report(text):
    """The kernels in what ptxas -v said. Functions that are called without being inlined add to their kernel's memory."""
    kernels = []
    name = architecture = None
    stack = spilled = 0
    for line in text.splitlines():
        if match := COMPILING.match(line):
            name, architecture = match.groups()
            stack = spilled = 0
        elif match := MEMORY.match(line):
            stack += int(match[1])
            spilled += int(match[2]) + int(match[3])
        elif (match := REGISTERS.match(line)) and name:
            kernels.append(Kernel(name, architecture, int(match[1]), stack, spilled))
            name = None
    return kernels


def known_spills(text):
    """(architecture, part of a kernel's name) of each line; # begins a comment."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def unknown(kernels, known):
    """Those that spill and are not known to."""
    return [kernel for kernel in kernels if kernel.spilled
            and not any(kernel.architecture == architecture and part in kernel.name for architecture, part in known)]


def outdated(kernels, known):
    """Lines of which no kernel is in need."""
    return [line for line in known if not any(
        kernel.spilled and kernel.architecture == line[0] and line[1] in kernel.name for kernel in kernels)]


def read_build(folder):
    reports = sorted(Path(folder).glob("kernels/cuda/CMakeFiles/sinkstream_cuda.dir/**/*.resources"))
    kernels = [kernel for report in reports for kernel in read_report(report.read_text())]
    names = "\n".join(kernel.name for kernel in kernels)
    plain = subprocess.run(["c++filt"], input=names, capture_output=True, text=True, check=True).stdout.splitlines()
    return [kernel._replace(name=name.replace("sinkstream::kernels::", "").replace("cuda::", ""))
            for kernel, name in zip(kernels, plain)]


def table(kernels):
    rows = [("arch", "registers", "stack", "spilled", "kernel")]
    rows += [(kernel.architecture, kernel.registers, kernel.stack, kernel.spilled, kernel.name)
             for kernel in sorted(kernels, key=lambda kernel: (kernel.name, len(kernel.architecture), kernel.architecture))]
    return "\n".join("{:<7}{:>9}{:>7}{:>9}  {}".format(*row) for row in rows)


def main():
    kernels = read_build(sys.argv[1] if len(sys.argv) > 1 else "build/release")
    if not kernels:
        sys.exit("no kernels: build them with launch/build --cuda")
    print(table(kernels))
    known = known_spills(KNOWN.read_text())
    failed = False
    for kernel in unknown(kernels, known):
        print(f"{kernel.name} spills {kernel.spilled} bytes on {kernel.architecture}", file=sys.stderr)
        failed = True
    for line in outdated(kernels, known):
        if line[0] in {kernel.architecture for kernel in kernels}:
            print(f"{KNOWN.name}: no kernel needs the line: {' '.join(line)}", file=sys.stderr)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
