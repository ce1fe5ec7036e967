"""tests/skipped.py says what was skipped and why, whatever framework skipped it."""

import subprocess
import sys

import pytest

from gguf_files import PROJECT

LOG = {
    "pytest": ("SKIPPED [2] test_x.py:3: no network\n", "Skipped: a.test, 2 of its tests: test_x.py:3: no network\n"),
    "GoogleTest": ("x_test.cpp:7: Skipped\nno such device\n", "Skipped: a.test: no such device\n"),
    "unittest": ("test_a (__main__.A.test_a)\nWhat it shows ... skipped \"it's root\"\n", "Skipped: a.test: it's root\n"),
    "nobody": ("test_a (__main__.A.test_a) ... ok\n", "No test was skipped.\n"),
}


@pytest.mark.parametrize("framework", LOG)
def test_what_was_skipped_is_told(tmp_path, framework):
    text, told = LOG[framework]
    (tmp_path / "Testing/Temporary").mkdir(parents=True)
    (tmp_path / "Testing/Temporary/LastTest.log").write_text(f"1/1 Testing: a.test\n1/1 Test: a.test\n{text}<end of output>\n")
    (tmp_path / "configure.log").write_text("-- Configuring done\n")
    result = subprocess.run([sys.executable, PROJECT / "tests/skipped.py", tmp_path], capture_output=True, text=True, timeout=60)
    assert result.stdout == told, result.stderr
