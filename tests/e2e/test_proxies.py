"""The recipes of docs/proxies.md, word for word, with the real nginx and the real Caddy in front of a group."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from group import PROJECT, Group, wait_until

HOST = "chat.example.org"
START_SECONDS = 60


def recipes(language):
    text = (PROJECT / "docs/proxies.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def put(text, *replacements):
    """The recipe on this machine's ports and files; fails when it has changed so much that nothing is replaced."""
    for old, new in replacements:
        assert old in text, f"docs/proxies.md has no {old!r} in:\n{text}"
        text = text.replace(old, new)
    return text


def reserve_port():
    """A socket whose port goes to nobody else: it does not listen, so a server that sets SO_REUSEADDR may, as both do."""
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


@pytest.fixture(scope="module")
def group():
    with Group(f"server.allowed_hosts={HOST}", num_ranks=1) as running:
        yield running.wait_until_listening()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", folder / "key.pem", "-out",
         folder / "certificate.pem"], check=True, capture_output=True, timeout=60)
    return folder / "certificate.pem", folder / "key.pem"


class Proxy:
    """A proxy that runs, and how to ask through it."""

    def __init__(self, command, reservation, certificate, log, environment=None):
        self.port = reservation.getsockname()[1]
        self._reservation = reservation
        self.context = ssl.create_default_context(cafile=certificate)
        self._log = log
        with open(log, "wb") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                             env=environment)

    def __enter__(self):
        def answers():
            assert self._process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return True
            except OSError:
                return False

        if not wait_until(answers, START_SECONDS):
            self.__exit__()
            raise AssertionError(self.log())
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reservation.close()

    def log(self):
        return Path(self._log).read_text()

    def connect(self):
        """A TLS connection to the proxy by the name that users type."""
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=120)
        plain = socket.create_connection(("127.0.0.1", self.port), 120)
        connection.sock = self.context.wrap_socket(plain, server_hostname=HOST)
        return connection

    def ask(self, method, path, body=None, headers=None):
        connection = self.connect()
        headers = {"Host": HOST, **(headers or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body and json.dumps(body), headers)
        return connection, connection.getresponse()


def find_program(name):
    """Installed, or as launch/install unpacks it."""
    places = [os.environ["PATH"], "/usr/sbin", PROJECT / ".proxies/usr/sbin", PROJECT / ".proxies/usr/bin"]
    program = shutil.which(name, path=":".join(map(str, places)))
    if not program:
        pytest.skip(f"there is no {name} (launch/install test fetches it)")
    return program


def nginx(recipe, group, certificate, folder):
    program = find_program("nginx")
    reservation = reserve_port()
    port = reservation.getsockname()[1]
    address = group.url.removeprefix("http://")
    if "server {" not in recipe:  # a place under another site's server
        site = recipes("nginx")[0]
        recipe = site[: site.index("    location /")] + recipe + "}\n"
    recipe = put(recipe, ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"), ("127.0.0.1:8000", address),
                 (f"/etc/ssl/certs/{HOST}.pem", str(certificate[0])), (f"/etc/ssl/private/{HOST}.key", str(certificate[1])))
    kinds = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{kinds}{recipe}}}\n")
    return Proxy([program, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"], reservation, certificate[0], folder / "log")


def caddy(recipe, group, certificate, folder):
    program = find_program("caddy")
    reservation = reserve_port()
    port = reservation.getsockname()[1]
    address = group.url.removeprefix("http://")
    recipe = put(recipe, (f"{HOST} {{\n", f"https://{HOST}:{port} {{\n    bind 127.0.0.1\n    tls {certificate[0]} {certificate[1]}\n"),
                 ("127.0.0.1:8000", address))
    (folder / "Caddyfile").write_text("{\n    admin off\n    auto_https disable_redirects\n}\n" + recipe)
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return Proxy([program, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"], reservation, certificate[0],
                 folder / "log", environment)


CASES = [(nginx, 0, ""), (nginx, 1, "/sinkstream"), (caddy, 0, ""), (caddy, 1, "/sinkstream")]


@pytest.fixture(scope="module", params=CASES, ids=["nginx", "nginx-prefix", "caddy", "caddy-prefix"])
def site(request, group, certificate):
    """A proxy and the path under which the server lies."""
    start, number, prefix = request.param
    with tempfile.TemporaryDirectory() as folder:
        with start(recipes(start.__name__)[number], group, certificate, Path(folder)) as proxy:
            yield proxy, prefix


def test_there_are_as_many_recipes_as_are_tested():
    assert len(recipes("nginx")) == 2
    assert len(recipes("caddy")) == 2


def test_the_api_answers_by_the_name_that_users_type(site):
    proxy, prefix = site
    _, response = proxy.ask("GET", f"{prefix}/v1/models")
    assert response.status == 200
    assert json.load(response)["data"][0]["id"] == "demo"
    _, response = proxy.ask("GET", f"{prefix}/health")
    assert response.status == 200


def test_the_page_may_ask_its_own_server(site):
    proxy, prefix = site
    _, page = proxy.ask("GET", f"{prefix}/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    _, response = proxy.ask("POST", f"{prefix}/v1/chat/completions", chat, {"Origin": f"https://{HOST}"})
    assert response.status == 200
    assert json.load(response)["usage"]["completion_tokens"] > 0
    _, foreign = proxy.ask("POST", f"{prefix}/v1/chat/completions", chat, {"Origin": "https://evil.example"})
    assert foreign.status == 403


def running(group):
    address = group.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    return int(re.search(r"^sinkstream_requests_running (\d+)", metrics, re.MULTILINE).group(1))


# Caddy may close its own connection behind it when an answer begins before it has noticed that it sent all of the request: Go
# reads a body that it has closed by then. On a busy machine this was seen in one of six streams with Caddy 2.6.2.
CLOSED_BY_PROXY = re.compile("reading from backend.*use of closed network connection")


def first_events(proxy, path, body, count):
    """Of a stream, and its connection; anew where the proxy says that it closed it itself."""
    for closed in range(20):
        connection, response = proxy.ask("POST", path, body)
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = []
        while len(events) < count and (line := response.readline()):
            if line.startswith(b"data: "):
                events.append(json.loads(line.removeprefix(b"data: ")))
        if len(events) == count:
            return connection, response
        connection.close()
        assert wait_until(lambda: len(CLOSED_BY_PROXY.findall(proxy.log())) > closed, 60), f"the stream has ended after {events}"
    raise AssertionError("the proxy closes every stream")


def test_tokens_come_while_the_answer_is_made_and_leaving_cancels_it(site, group):
    proxy, prefix = site
    # Longer than any test waits: what is read before its end has been streamed.
    endless = {"prompt": "It was", "max_tokens": 900000, "ignore_eos": True, "stream": True}
    connection, response = first_events(proxy, f"{prefix}/v1/completions", endless, 5)
    assert wait_until(lambda: running(group) == 1, 60)
    response.close()
    connection.sock.close()
    assert wait_until(lambda: running(group) == 0, 60), "the client has left, and the generation goes on"


def test_large_bodies_pass(site):
    proxy, prefix = site
    _, response = proxy.ask("POST", f"{prefix}/tokenize", {"prompt": "ab " * 1_000_000})
    assert response.status == 200, response.read()
    assert json.load(response)["count"] > 1_000_000


def test_the_log_names_the_client_and_not_whom_it_claims_to_be(site, group):
    proxy, prefix = site
    name = f"log-{time.monotonic_ns()}"
    _, response = proxy.ask("GET", f"{prefix}/v1/models", headers={"X-Forwarded-For": "203.0.113.9", "x-request-id": name})
    assert response.status == 200
    assert wait_until(lambda: name in group.log(), 60)
    line = next(line for line in group.log().splitlines() if name in line)
    assert " 127.0.0.1 GET /v1/models 200 " in line
