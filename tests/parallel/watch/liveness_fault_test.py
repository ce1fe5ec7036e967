"""Breaks small worker groups in every way and checks that they end: in time, with a reason, leaving nothing behind.

usage: liveness_fault_test.py MPIRUN PROBE [TestCase.test ...]
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpirun import FOR_MPIRUN  # noqa: E402
from processes import cpu_seconds, is_alive, sleeps, state_of  # noqa: E402

MPIRUN, PROBE = sys.argv[1:3]
MPIRUN_VERSION = int(re.search(r"(\d+)\.\d+", subprocess.check_output([MPIRUN, "--version"], text=True)).group(1))
STUCK_SECONDS = 4  # longer than a busy machine keeps a rank from its turn
# Where ranks must notice an end by something faster than silence, silence takes longer than a test waits.
NEVER_SECONDS = 3600
# For what must come: so long that only something broken misses it. It costs nothing when it comes.
PATIENCE_SECONDS = 180
ENDLESS = ("--run-ms", "3600000")
ENDLESS_IDLING = ("--idle-ms", "3600000")


class Group:
    """mpirun and its ranks. What they write goes to a file, so that nothing waits for a reader."""

    def __init__(self, ranks, *options, stuck_seconds=STUCK_SECONDS, wait_for_start=True):
        self.output_file = tempfile.TemporaryFile()
        command = [MPIRUN, "--oversubscribe", "-np", str(ranks), PROBE, "--stuck-ms", str(int(stuck_seconds * 1000))]
        self.mpirun = subprocess.Popen(
            command + list(options), stdin=subprocess.DEVNULL, stdout=self.output_file, stderr=subprocess.STDOUT,
            env=os.environ | FOR_MPIRUN, start_new_session=True)
        self.pids = {}
        if wait_for_start:
            self.find_pids(ranks)

    def find_pids(self, ranks):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.pids) < ranks:
            if time.monotonic() > deadline or self.mpirun.poll() is not None:
                raise AssertionError(f"the group did not start:\n{self.output()}")
            time.sleep(0.02)
            self.pids = {int(rank): int(pid) for rank, pid in re.findall(r"rank (\d+) is pid (\d+)", self.output())}

    def output(self):
        # Not by seeking: the group writes at the same file offset, and would overwrite what it wrote before.
        file = self.output_file.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def end(self):
        """Waits until mpirun and all ranks are gone; returns mpirun's exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pids = list(self.pids.values())
        while time.monotonic() < deadline:
            if self.mpirun.poll() is not None and not any(is_alive(pid) for pid in pids):
                return self.mpirun.returncode
            time.sleep(0.02)
        left = {pid: state_of(pid) for pid in pids if is_alive(pid)}
        raise AssertionError(
            f"not ended after {PATIENCE_SECONDS} s: mpirun {self.mpirun.poll()}, left {left}; output:\n{self.output()}")

    def clean_up(self):
        for pid in [self.mpirun.pid] + list(self.pids.values()):
            if is_alive(pid) and pid > 1:
                os.kill(pid, signal.SIGKILL)
        self.mpirun.wait()
        self.output_file.close()


class GroupTest(unittest.TestCase):
    def start(self, *args, **kwargs):
        group = Group(*args, **kwargs)
        self.addCleanup(group.clean_up)
        return group

    def assert_lost(self, group, message):
        """The group ends, not as if all were well, and says why, once."""
        code = group.end()
        output = group.output()
        self.assertNotEqual(code, 0, output)
        self.assertRegex(output, "sinkstream: the worker group is lost: " + message)
        self.assertEqual(output.count("sinkstream: "), 1, output)


class Clean(GroupTest):
    def check_clean(self, ranks, *options, **kwargs):
        group = self.start(ranks, *options, **kwargs)
        self.assertEqual(group.end(), 0, group.output())
        self.assertNotIn("sinkstream: ", group.output())
        self.assertNotIn("lost", group.output())

    def test_one_rank(self):
        self.check_clean(1)

    def test_two_ranks(self):
        self.check_clean(2)

    def test_eight_ranks(self):
        self.check_clean(8, stuck_seconds=NEVER_SECONDS)

    @unittest.skipUnless(os.path.exists("/proc/self/schedstat"), "this kernel does not count how long threads wait for a CPU")
    def test_a_rank_whose_host_has_no_cpu_for_it_is_not_stuck(self):
        self.check_clean(1, "--rank", "0", "--fault", "starve", stuck_seconds=2)

    def test_over_tcp(self):
        self.check_clean(3, "--over-tcp")

    def test_long_idle_is_no_fault(self):
        self.check_clean(2, "--idle-ms", str(2500 * STUCK_SECONDS))

    def test_without_launcher(self):
        run = subprocess.run([PROBE, "--run-ms", "100"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(run.stderr, "")

    def test_drain_asked_of_another_rank_reaches_the_leader(self):
        group = self.start(3, *ENDLESS, "--rank", "2", "--fault", "drain")
        self.assertEqual(group.end(), 0, group.output())
        self.assertIn("drained", group.output())

    def test_drain_asked_of_the_leader(self):
        group = self.start(1, *ENDLESS, "--rank", "0", "--fault", "drain")
        self.assertEqual(group.end(), 0, group.output())
        self.assertIn("drained", group.output())

    def test_all_stopped_and_continued_goes_on(self):
        """As when a machine is suspended: time that nobody saw is held against nobody."""
        group = self.start(3, "--run-ms", "10000")
        for pid in group.pids.values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5 * STUCK_SECONDS)
        for pid in group.pids.values():
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(group.end(), 0, group.output())


class Killed(GroupTest):
    def kill(self, ranks, victim, *options):
        group = self.start(ranks, *(options or ENDLESS), stuck_seconds=NEVER_SECONDS)
        time.sleep(0.2)
        os.kill(group.pids[victim], signal.SIGKILL)
        self.assert_lost(group, rf"rank {victim} \(pid {group.pids[victim]} on \S+\) died")
        return group

    def test_a_rank(self):
        group = self.kill(3, 1)
        self.assertIn("rank 0 lost the group: rank 1", group.output())

    def test_the_last_of_eight(self):
        self.kill(8, 7)

    def test_a_rank_over_tcp(self):
        self.kill(3, 2, *ENDLESS, "--over-tcp")

    def test_a_rank_while_idle(self):
        self.kill(2, 1, *ENDLESS_IDLING)

    def test_the_leader(self):
        group = self.kill(3, 0)
        self.assertIn("rank 1 lost the group: rank 0", group.output())

    def test_the_leader_of_two_while_idle(self):
        self.kill(2, 0, *ENDLESS_IDLING)

    def test_the_launcher(self):
        group = self.start(2, *ENDLESS, stuck_seconds=NEVER_SECONDS)
        group.mpirun.kill()
        self.assertNotEqual(group.end(), 0)

    def test_the_launcher_of_one(self):
        group = self.start(1, *ENDLESS, stuck_seconds=NEVER_SECONDS)
        group.mpirun.kill()
        self.assertNotEqual(group.end(), 0)

    def test_the_launcher_by_sigterm(self):
        group = self.start(2, *ENDLESS, stuck_seconds=NEVER_SECONDS)
        group.mpirun.terminate()
        if MPIRUN_VERSION < 5:
            self.assert_lost(group, r"rank \d \(pid \d+ on \S+\): the launcher ends the group")
        else:  # which kills the ranks so soon after that they may not come to say why
            self.assertNotEqual(group.end(), 0)

    def test_a_callback_that_hangs_does_not_hold_up_the_end(self):
        self.kill(2, 1, *ENDLESS, "--fault", "slow end")


class Stopped(GroupTest):
    def stop(self, ranks, victim, *options):
        group = self.start(ranks, *(options or ENDLESS))
        time.sleep(0.2)
        os.kill(group.pids[victim], signal.SIGSTOP)
        self.assert_lost(group, rf"rank {victim} \(pid {group.pids[victim]} on \S+\) is stopped or unreachable: "
                                rf"silent for {STUCK_SECONDS} s")

    def test_a_rank(self):
        self.stop(3, 2)

    def test_a_rank_while_idle(self):
        self.stop(2, 1, *ENDLESS_IDLING)

    def test_the_leader(self):
        self.stop(3, 0)

    def test_the_launcher(self):
        group = self.start(2, *ENDLESS)
        group.mpirun.send_signal(signal.SIGSTOP)
        self.assert_lost(group, rf"rank \d \(pid \d+ on \S+\): the launcher \(pid {group.mpirun.pid}\) has been stopped for {STUCK_SECONDS} s")

    def test_continued_too_late_does_not_revive_half_a_group(self):
        group = self.start(3, *ENDLESS, "--over-tcp")
        os.kill(group.pids[1], signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "lost the group" not in group.output() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(group.pids[1], signal.SIGCONT)
        self.assert_lost(group, "rank 1 ")


class Misbehaving(GroupTest):
    def misbehave(self, ranks, rank, fault, message, **kwargs):
        group = self.start(ranks, *ENDLESS, "--rank", str(rank), "--fault", fault, **kwargs)
        self.assert_lost(group, message)
        return group

    def test_a_rank_that_sticks_is_named_with_what_it_does(self):
        self.misbehave(3, 1, "stick",
                       rf"rank 1 \(.*\) is stuck in a stuck kernel, step 7: no progress for {STUCK_SECONDS} s")

    def test_a_leader_that_sticks(self):
        self.misbehave(2, 0, "stick", r"rank 0 \(.*\) is stuck in a stuck kernel, step 7")

    def test_a_group_of_one_that_sticks(self):
        self.misbehave(1, 0, "stick", r"rank 0 \(.*\) is stuck in a stuck kernel, step 7")

    def test_ranks_that_wait_for_one_another(self):
        self.misbehave(2, 1, "wait", f"all ranks wait for one another, for {STUCK_SECONDS} s already: rank 0 in a sum "
                                     "over ranks, step 5, rank 1 in a message that never comes, step 7")

    def test_a_rank_that_fails_says_why(self):
        group = self.misbehave(3, 2, "fail", r"rank 2 \(pid \d+ on \S+\): out of memory", stuck_seconds=NEVER_SECONDS)
        self.assertRegex(group.output(), r"rank 0 lost the group: rank 2 \(pid \d+ on \S+\): out of memory")

    def test_a_leader_that_fails(self):
        group = self.misbehave(2, 0, "fail", r"rank 0 \(pid \d+ on \S+\): out of memory", stuck_seconds=NEVER_SECONDS)
        self.assertRegex(group.output(), r"rank 1 lost the group: rank 0 \(pid \d+ on \S+\): out of memory")

    def test_an_exception_in_one_rank(self):
        group = self.misbehave(2, 1, "throw", r"rank 1 \(.*\) died", stuck_seconds=NEVER_SECONDS)
        self.assertIn("caught: thrown on purpose", group.output())

    def test_a_crash(self):
        self.misbehave(2, 1, "crash", r"rank 1 \(.*\) died", stuck_seconds=NEVER_SECONDS)

    def test_ranks_in_different_operations(self):
        group = self.start(2, *ENDLESS, "--rank", "1", "--fault", "drift")
        self.assertNotEqual(group.end(), 0)
        self.assertRegex(group.output(), "drifted apart: rank (1 is in barrier .* rank 0 in all_reduce_sum|"
                                         "0 is in all_reduce_sum .* rank 1 in barrier)")

    def test_a_rank_that_never_starts_is_named(self):
        group = self.start(3, "--start-limit-ms", "10000", "--rank", "1", "--fault", "absent", wait_for_start=False)
        self.assertNotEqual(group.end(), 0)
        output = group.output()
        self.assertIn("rank 0 waited 10 s for all 3 ranks to start; missing: rank 1", output)
        self.assertEqual(output.count("sinkstream: "), 1, output)


class Idle(GroupTest):
    def test_waiting_ranks_wake_up_less_than_250_times_a_second(self):
        """What a wake-up costs is the machine's, and several times as much where it is busy: at 40 µs these are 1 % of a core."""
        group = self.start(3, *ENDLESS_IDLING, stuck_seconds=10)
        time.sleep(1)
        start = time.monotonic()
        before = {rank: (sleeps(pid), cpu_seconds(pid)) for rank, pid in group.pids.items()}
        time.sleep(5)
        after = {rank: (sleeps(pid), cpu_seconds(pid)) for rank, pid in group.pids.items()}
        seconds = time.monotonic() - start
        for rank in group.pids:
            self.assertLess(after[rank][0] - before[rank][0], 250 * seconds, f"rank {rank}")
            self.assertLess(after[rank][1] - before[rank][1], 0.1 * seconds, f"rank {rank} waits busily between its sleeps")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
