"""Says which tests were skipped and why: tests/skipped.py BUILD_DIRECTORY, after ctest."""

import ast
import re
import sys
from pathlib import Path

build = Path(sys.argv[1])
# "3/99 Testing: name", what the test wrote, a line of dashes and its result.
log = (build / "Testing/Temporary/LastTest.log").read_text(errors="replace")
reasons = {}
for name, text in re.findall(r"^\d+/\d+ Testing: (.*?)\n(.*?)(?=^\d+/\d+ Testing: |\Z)", log, re.M | re.S):
    found = re.findall(r"^SKIPPED \[(\d+)\] (.*)$", text, re.M)  # pytest's summary
    found += [("1", reason) for reason in re.findall(r": Skipped\n(.*)", text)]  # GoogleTest
    found += [("1", ast.literal_eval(reason)) for reason in re.findall(r"\.\.\. skipped (['\"].*['\"])$", text, re.M)]  # unittest
    for count, reason in found:
        reasons.setdefault((name, reason), int(count))
configured = (build / "configure.log").read_text(errors="replace")
left_out = re.findall(r"^-- (Left out: .*)$", configured, re.M)

if not reasons and not left_out:
    print("No test was skipped.")
for line in left_out:
    print(line)
for (name, reason), count in reasons.items():
    print(f"Skipped: {name}, {count} of its tests: {reason}" if count > 1 else f"Skipped: {name}: {reason}")
