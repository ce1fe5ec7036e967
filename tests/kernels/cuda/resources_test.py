"""The report of registers and spills, on what ptxas says of kernels that spill and of ones that don't."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import resources
from resources import Kernel

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN10sinkstream4goodEv' for 'sm_90'
ptxas info    : Function properties for _ZN10sinkstream4goodEv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 4096 bytes smem
ptxas info    : Compile time = 9.104 ms
ptxas info    : Compiling entry function '_ZN10sinkstream3badEv' for 'sm_80'
ptxas info    : Function properties for _ZN10sinkstream3badEv
    24 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 255 registers
"""
GOOD = Kernel("_ZN10sinkstream4goodEv", "sm_90", 40, 0, 0)
BAD = Kernel("_ZN10sinkstream3badEv", "sm_80", 255, 24, 36)


class TheReport(unittest.TestCase):
    def test_kernels_are_read(self):
        self.assertEqual([GOOD, BAD], resources.read_report(REPORT))

    def test_a_spill_is_known_by_name_and_architecture(self):
        known = resources.known_spills("# all\n\nsm_80 sinkstream3bad  # it has to\n")
        self.assertEqual([("sm_80", "sinkstream3bad")], known)
        self.assertEqual([], resources.unknown([GOOD, BAD], known))
        self.assertEqual([BAD], resources.unknown([GOOD, BAD], []))
        self.assertEqual([BAD._replace(architecture="sm_90")], resources.unknown([BAD._replace(architecture="sm_90")], known))

    def test_lines_that_nothing_needs(self):
        known = [("sm_80", "bad"), ("sm_90", "good")]
        self.assertEqual([("sm_90", "good")], resources.outdated([GOOD, BAD], known))

    def run_on(self, report):
        with tempfile.TemporaryDirectory() as build:
            folder = Path(build) / "kernels/cuda/CMakeFiles/sinkstream_cuda.dir/attention"
            folder.mkdir(parents=True)
            if report:
                (folder / "a.cu.o.resources").write_text(report)
            return subprocess.run([sys.executable, "-B", resources.__file__, build], capture_output=True, text=True)

    def test_a_spill_fails(self):
        result = self.run_on(REPORT)
        self.assertEqual(1, result.returncode)
        self.assertIn("sm_90         40      0        0  sinkstream::good()", result.stdout)
        self.assertEqual("sinkstream::bad() spills 36 bytes on sm_80\n", result.stderr)

    def test_a_build_without_kernels_fails(self):
        result = self.run_on("")
        self.assertIn("launch/build --cuda", result.stderr)
        self.assertEqual(1, result.returncode)


if __name__ == "__main__":
    unittest.main()
