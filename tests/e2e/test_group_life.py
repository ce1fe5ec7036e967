"""How a real group starts badly, idles, ends in good order, and dies."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time

import openai
import pytest

from group import PATIENCE_SECONDS, PROJECT, STREAM_WORKER, Group, wait_until
from mpirun import FOR_MPIRUN
from processes import cpu_seconds, is_alive, sleeps

STUCK_SECONDS = 4  # longer than a busy machine keeps a rank from its turn
LOST_RANK = 5
INTERRUPTED = 130


class Stream:
    """A streamed answer, read by a thread of its own."""

    def __init__(self, group, max_tokens):
        self.texts = []
        self.finish_reason = None
        self.error = None
        self._thread = threading.Thread(target=self._read, args=(group.connect(), max_tokens))
        self._thread.start()
        assert wait_until(lambda: len(self.texts) > 3 or self.error), "no text came"

    def _read(self, client, max_tokens):
        try:
            for chunk in client.completions.create(
                    model="demo", prompt="Once", max_tokens=max_tokens, stream=True, extra_body={"ignore_eos": True}):
                self.texts.append(chunk.choices[0].text)
                self.finish_reason = chunk.choices[0].finish_reason or self.finish_reason
        except Exception as error:  # of the client or, when the connection breaks, of what it stands on
            self.error = error

    def join(self):
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the stream neither ended nor failed"


ENDLESS = 1000000


# ---- A clean end ----


def to_launcher(group):
    group.launcher.send_signal(signal.SIGTERM if group.supervised else signal.SIGUSR1)


def to_all_ranks(group):
    for pid in group.ranks:
        with contextlib.suppress(ProcessLookupError):  # the first signal ends all, if the stream has ended by then
            os.kill(pid, signal.SIGTERM)


def to_last_rank(group):
    os.kill(group.ranks[-1], signal.SIGTERM)


def interrupt(group):
    group.launcher.send_signal(signal.SIGINT)


def to_process_group(group):
    os.killpg(group.launcher.pid, signal.SIGTERM)


@pytest.mark.parametrize("supervised, ask_to_end", [
    pytest.param(False, to_launcher, id="SIGUSR1 to mpirun"),
    pytest.param(False, to_all_ranks, id="SIGTERM to all ranks"),
    pytest.param(False, to_last_rank, id="SIGTERM to the last rank"),
    pytest.param(True, to_launcher, id="SIGTERM to run-group"),
    pytest.param(True, interrupt, id="SIGINT to run-group"),
    pytest.param(True, to_process_group, id="SIGTERM to run-group's process group"),
])
def test_streams_in_flight_finish_and_all_exit_0(supervised, ask_to_end):
    with Group(supervised=supervised) as group:
        stream = Stream(group.wait_until_listening(), max_tokens=100)
        ask_to_end(group)
        stream.join()
        assert stream.error is None
        assert stream.finish_reason == "length"
        assert group.wait() == 0, group.log()
        assert group.survivors() == []


# Once the race of the thread that drains with the end of the engine was lost in one of six.
def test_idle_groups_exit_0():
    for ask_to_end in [to_launcher, to_last_rank] * 4:
        with Group(num_ranks=3) as group:
            group.wait_until_listening()
            ask_to_end(group)
            assert group.wait() == 0, group.log()
            assert group.survivors() == []


@pytest.mark.parametrize("moment", ["rank 0: heads", "loaded ", "listening on"])
@pytest.mark.parametrize("supervised", [False, True])
def test_groups_asked_to_end_as_they_start_exit_0(moment, supervised):
    with Group(supervised=supervised) as group:
        assert wait_until(lambda: moment in group.log())
        to_launcher(group)
        assert group.wait() == 0, group.log()
        assert "[error]" not in group.log()


def test_sigterm_from_a_parent_that_is_no_launcher_asks_for_a_drain():
    with subprocess.Popen(
            [STREAM_WORKER, "--config", PROJECT / "configs/demo.yaml", "--set", "server.listen=127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as worker:
        assert any("listening on" in line for line in worker.stderr)
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0


def test_new_requests_are_refused_while_ending():
    with Group() as group:
        stream = Stream(group.wait_until_listening(), max_tokens=100)
        to_launcher(group)
        assert wait_until(lambda: "ending" in group.log())
        with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):
            group.connect().completions.create(model="demo", prompt="Once", max_tokens=1)
        stream.join()
        assert stream.finish_reason == "length"
        assert group.wait() == 0


def test_streams_longer_than_the_drain_are_cut_with_an_error():
    with Group("server.drain_seconds=1") as group:
        stream = Stream(group.wait_until_listening(), ENDLESS)
        to_launcher(group)
        stream.join()
        assert isinstance(stream.error, openai.APIError)
        group.wait()
        assert group.survivors() == []


def test_a_signal_that_is_sent_twice_at_once_counts_once():
    with Group(supervised=True) as group:
        stream = Stream(group.wait_until_listening(), max_tokens=100)
        to_launcher(group)  # as timeout(1) does: to the process, and to its group
        to_launcher(group)
        stream.join()
        assert stream.finish_reason == "length"
        assert group.wait() == 0, group.log()


@pytest.mark.parametrize("supervised", [False, True])
def test_second_signal_ends_at_once(supervised):
    with Group(supervised=supervised) as group:
        stream = Stream(group.wait_until_listening(), ENDLESS)
        to_launcher(group)
        assert wait_until(lambda: "ending" in group.log())
        assert is_alive(group.ranks[0])
        time.sleep(0.3)  # at once it would be the first signal, sent twice
        to_launcher(group)
        assert group.wait() == INTERRUPTED, group.log()
        stream.join()
        assert stream.finish_reason is None and stream.error
        assert wait_until(lambda: not group.survivors())


def test_killed_supervisor_takes_the_group_along():
    with Group(supervised=True) as group:
        group.wait_until_listening()
        group.launcher.kill()
        assert wait_until(lambda: not group.survivors())


# ---- Death ----


def assert_group_ends(group, because=""):
    assert wait_until(lambda: not group.survivors()), f"{group.survivors()} still run:\n{group.log()}"
    assert group.wait() != 0
    assert because in group.log(), group.log()


@pytest.mark.parametrize("victim, name, communicator", [(0, "rank 0", "auto"), (1, "rank 1", "mpi"), (2, "rank 2", "shm")])
def test_killed_rank_ends_the_group(victim, name, communicator):
    with Group(f"parallel.communicator={communicator}", num_ranks=3) as group:
        stream = Stream(group.wait_until_listening(), ENDLESS)
        os.kill(group.ranks[victim], signal.SIGKILL)
        assert_group_ends(group, because=name)
        stream.join()
        assert stream.error and stream.finish_reason is None
        if victim != 0:  # the leader lives long enough to say why
            assert name in str(stream.error)


def test_killed_mpirun_ends_the_ranks():
    with Group() as group:
        stream = Stream(group.wait_until_listening(), ENDLESS)
        os.kill(group.mpirun, signal.SIGKILL)
        assert_group_ends(group)  # its word is lost: mpirun passed the log on
        stream.join()
        assert isinstance(stream.error, openai.APIError)
        assert "launcher" in str(stream.error)


@pytest.mark.parametrize("victim", [0, 1])
def test_idle_group_notices_a_killed_rank(victim):
    with Group() as group:
        group.wait_until_listening()
        os.kill(group.ranks[victim], signal.SIGKILL)
        assert_group_ends(group, because=f"rank {victim}")


def test_idle_ranks_notice_a_killed_mpirun():
    with Group() as group:
        group.wait_until_listening()
        os.kill(group.mpirun, signal.SIGKILL)
        assert_group_ends(group)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("streaming", [True, False])
def test_stuck_rank_ends_the_group(victim, streaming):
    with Group(f"parallel.stuck_seconds={STUCK_SECONDS}") as group:
        group.wait_until_listening()
        stream = Stream(group, ENDLESS) if streaming else None
        os.kill(group.ranks[victim], signal.SIGSTOP)
        assert_group_ends(group, because=f"rank {victim}")
        if stream:
            stream.join()
            assert stream.error and stream.finish_reason is None


def test_mpirun_that_hangs_over_dead_ranks_is_ended(tmp_path):
    mpirun = tmp_path / "mpirun"
    mpirun.write_text("#!/usr/bin/python3\nimport os, time\nif os.fork() == 0: os._exit(1)\ntime.sleep(3600)\n")
    mpirun.chmod(0o755)
    result = subprocess.run(
        [PROJECT / "launch/run-group", "1", "worker"], env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == LOST_RANK, result.stderr
    assert "mpirun hangs" in result.stderr


# ---- Idling ----


# What a wake-up costs is the machine's, and several times as much where it is busy: at 40 µs these are 1 % of a core.
def test_idle_ranks_wake_up_under_250_times_a_second():
    with Group() as group:
        group.wait_until_listening().connect().completions.create(model="demo", prompt="Once", max_tokens=20)
        time.sleep(0.5)
        start = time.monotonic()
        before = [(sleeps(pid), cpu_seconds(pid)) for pid in group.ranks]
        time.sleep(5)
        after = [(sleeps(pid), cpu_seconds(pid)) for pid in group.ranks]
        seconds = time.monotonic() - start
        for (slept_before, used_before), (slept, used) in zip(before, after):
            assert slept - slept_before < 250 * seconds
            assert used - used_before < 0.1 * seconds, "between its sleeps it waits busily"


# ---- A bad start ----


def assert_refuses(group, exit_code, *words):
    with group:
        assert group.wait() == exit_code, group.log()
        log = group.log()
        errors = [line for line in log.splitlines() if "[error]" in line]
        assert len(errors) == 1, log
        for word in words:
            assert word in log


def write_config(directory, text):
    path = directory / "broken.yaml"
    path.write_text(text)
    return path


def copy_model(directory):
    model = directory / "model"
    shutil.copytree(PROJECT / "models/demo", model)
    return model


def test_broken_config_ends_all_ranks_with_one_error(tmp_path):
    config = write_config(tmp_path, f"model:\n  path: {PROJECT}/models/demo\ncache:\n  sink_token: 4\n")
    assert_refuses(Group(config=config), 2, "broken.yaml:4", "sink_token", "sink_tokens")


def test_missing_model_ends_all_ranks_with_one_error(tmp_path):
    assert_refuses(Group(f"model.path={tmp_path}/nothing"), 3, f"{tmp_path}/nothing")


def test_truncated_weights_end_all_ranks_with_one_error(tmp_path):
    model = copy_model(tmp_path)
    os.truncate(model / "model.safetensors", 10_000_000)
    assert_refuses(Group(f"model.path={model}"), 3, "model.safetensors")


def test_broken_tokenizer_ends_all_ranks_with_one_error(tmp_path):
    model = copy_model(tmp_path)
    (model / "tokenizer.json").write_text("{")
    assert_refuses(Group(f"model.path={model}"), 3, "tokenizer.json")


def test_a_sink_that_the_tokenizer_lacks_ends_all_ranks_with_one_error():
    assert_refuses(Group("model.sink_token=<|nothing|>"), 2, "model.sink_token", "<|nothing|>")


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"])
def test_what_is_no_file_ends_all_ranks_with_one_error(tmp_path, file):
    model = copy_model(tmp_path)
    (model / file).unlink(missing_ok=True)
    os.mkfifo(model / file)
    assert_refuses(Group(f"model.path={model}"), 3, f"{file}: not a file")


def test_links_to_nothing_are_not_taken_for_absent_files(tmp_path):
    model = copy_model(tmp_path)
    (model / "generation_config.json").unlink()
    (model / "generation_config.json").symlink_to("gone")
    assert_refuses(Group(f"model.path={model}"), 3, "generation_config.json: a link to a file that is not there")


def test_the_tokenizers_end_token_ends_answers(tmp_path):
    model = copy_model(tmp_path)
    (model / "generation_config.json").unlink()
    config = json.loads((model / "config.json").read_text())
    config["eos_token_id"] = None
    (model / "config.json").write_text(json.dumps(config))
    with Group(f"model.path={model}", "model.name=demo") as group:
        models = group.wait_until_listening().connect().models.list()
        assert models.data[0].meta["end_tokens"] == [1]


@pytest.mark.parametrize("files, complaint", [
    ({"tokenizer_config.json": {"eos_token": "<|done|>"}}, "is not one of the model's"),
    ({"tokenizer_config.json": {"added_tokens_decoder": {}}, "special_tokens_map.json": {"eos_token": "<|done|>"}},
     "is not defined by any file of the tokenizer"),
], ids=["beyond the model", "of no file"])
def test_an_end_token_that_cannot_come_is_warned_of(tmp_path, files, complaint):
    model = copy_model(tmp_path)
    for name, content in files.items():
        (model / name).write_text(json.dumps(content))
    with Group(f"model.path={model}", num_ranks=1) as group:
        group.wait_until_listening()
        assert f'[warning] the end token "<|done|>" {complaint}: answers will not end at it' in group.log()


def test_address_in_use_ends_all_ranks_with_one_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        assert_refuses(Group(f"server.listen={address}"), 6, address)


@pytest.mark.parametrize("difference, what", [
    (["--set", "model.weights=f32"], "settings"),
    (["--set", "engine.prefill_chunk=8"], "settings"),
    (["--set", "parallel.device=reference"], "settings (model.weights, cache, engine or parallel.device)"),
    (["--set", "model.path={model}"], "config.json"),
])
def test_ranks_that_would_compute_something_else_are_refused(tmp_path, difference, what):
    model = copy_model(tmp_path)
    config = model / "config.json"
    config.write_text(config.read_text().replace("10000", "123"))
    worker = [STREAM_WORKER, "--config", PROJECT / "configs/demo.yaml", "--set", "server.listen=127.0.0.1:0"]
    difference = shlex.join(word.format(model=model) for word in difference)
    script = f'[ "$OMPI_COMM_WORLD_RANK" = 0 ] || set -- "$@" {difference}; exec "$@"'
    result = subprocess.run(
        ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2", "sh", "-c", script, "sh", *worker],
        env=os.environ | FOR_MPIRUN,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 3, result.stderr
    assert f"rank 1 sees other {what}" in result.stderr


def test_more_ranks_than_heads_are_refused():
    assert_refuses(Group(num_ranks=5), 2, "5 ranks", "4")
