"""tests/summary.py says what failed and what was skipped and why, whatever framework said it."""

import subprocess
import sys

import pytest

from gguf_files import PROJECT

SKIPPED = {
    "pytest": ("SKIPPED [2] test_x.py:3: no network\n", "Skipped: a.test, 2 of its tests: test_x.py:3: no network\n"),
    "GoogleTest": ("x_test.cpp:7: Skipped\nno such device\n", "Skipped: a.test: no such device\n"),
    "unittest": ("test_a (__main__.A.test_a)\nWhat it shows ... skipped \"it's root\"\n", "Skipped: a.test: it's root\n"),
    "nobody": ("test_a (__main__.A.test_a) ... ok\n", "No test was skipped.\n"),
}


FAILED = {
    "pytest": ("..F\n    def test_a():\n>       assert 1 == 2\nE       assert 1 == 2\n\ntest_x.py:3: AssertionError\n"
               "FAILED test_x.py::test_a - assert 1 == 2\n",
               ["E       assert 1 == 2", "FAILED test_x.py::test_a - assert 1 == 2"]),
    "GoogleTest": ("[ RUN      ] A.B\nx_test.cpp:7: Failure\nExpected equality of these values:\n  1\n  2\n\n[  FAILED  ] A.B (0 ms)\n",
                   ["x_test.cpp:7: Failure", "Expected equality of these values:", "  1", "  2"]),
    "unittest": ("F\n=====\nFAIL: test_a (__main__.A.test_a)\n-----\nTraceback (most recent call last):\nAssertionError: 1 != 2\n",
                 ["FAIL: test_a (__main__.A.test_a)", "AssertionError: 1 != 2"]),
    "a crash": ("".join(f"{i}\n" for i in range(30)), [str(i) for i in range(10, 30)]),
}


def summary(folder, text, result):
    (folder / "Testing/Temporary").mkdir(parents=True)
    (folder / "Testing/Temporary/LastTest.log").write_text(
        f"1/1 Testing: a.test\n1/1 Test: a.test\nOutput:\n{'-' * 58}\n{text}<end of output>\nTest time = 1 sec\n{'-' * 58}\n"
        f"Test {result}.\n\"a.test\" end time\n")
    (folder / "configure.log").write_text("-- Configuring done\n")
    result = subprocess.run([sys.executable, PROJECT / "tests/summary.py", folder], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("framework", SKIPPED)
def test_what_was_skipped_is_told(tmp_path, framework):
    text, told = SKIPPED[framework]
    assert summary(tmp_path, text, "Passed") == told


@pytest.mark.parametrize("framework", FAILED)
def test_why_a_test_failed_is_told(tmp_path, framework):
    text, told = FAILED[framework]
    assert summary(tmp_path, text, "Failed").splitlines() == ["Failed: a.test", *(f"    {line}" for line in told), "No test was skipped."]
