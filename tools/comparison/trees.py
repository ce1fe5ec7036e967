"""Source trees: this one, or a commit's files beside it, each built in its own build/release."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / "build/compare"  # commits, made checkpoints, logs


class Failed(Exception):
    """Nothing could be compared: what, where, what to do."""


class Tree(NamedTuple):
    name: str
    directory: Path


def output_of(command, directory):
    try:
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if result.returncode:
        raise Failed(f"{' '.join(map(str, command))}: {result.stderr.strip()}")
    return result.stdout


def find_tree(name):
    """`name` is a directory with the sources, or a commit, whose files are then unpacked once."""
    if (Path(name) / "launch/build").is_file():
        return Tree(str(name), Path(name).resolve())
    commit = output_of(["git", "rev-parse", "--verify", f"{name}^{{commit}}"], PROJECT).strip()
    directory = WORK / commit[:12]
    if not directory.exists():
        unpack(commit, directory)
    return Tree(str(name), directory)


def unpack(commit, directory):
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        archive, files = Path(scratch) / "archive.tar", Path(scratch) / "files"
        output_of(["git", "archive", "--output", archive, commit], PROJECT)
        shutil.unpack_archive(archive, files)
        files.rename(directory)  # whole or not at all


def build(tree):
    """The tree's stream-worker, built."""
    print(f"== {tree.name}: {tree.directory}", flush=True)
    if subprocess.run([tree.directory / "launch/build", "stream-worker"]).returncode:
        raise Failed(f"{tree.name} does not build")
    # Ninja says where it is: it may have moved between the two, and an older one may lie at its former place.
    directory = tree.directory / "build/release"
    found = re.search(r"^\s+(\S*/stream-worker)$", output_of(["ninja", "-t", "query", "stream-worker"], directory), re.M)
    if not found:
        raise Failed(f"{directory} has no target stream-worker")
    return directory / found.group(1)
