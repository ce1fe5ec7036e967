"""Says which tests failed and which were skipped, and why: tests/summary.py BUILD_DIRECTORY, after ctest."""

import ast
import re
import sys
from pathlib import Path

LINES = 20  # of a failed test's reasons; the whole output stands in ctest's


def tests(log):
    """Of each test of ctest's LastTest.log: its name, and what it wrote followed by its result."""
    return re.findall(r"^\d+/\d+ Testing: (.*?)\n(.*?)(?=^\d+/\d+ Testing: |\Z)", log, re.M | re.S)


def skipped(text):
    """(how many of the test's cases, why) for each reason that a framework gave."""
    found = [(int(count), reason) for count, reason in re.findall(r"^SKIPPED \[(\d+)\] (.*)$", text, re.M)]  # pytest's summary
    found += [(1, reason) for reason in re.findall(r": Skipped\n(.*)", text)]  # GoogleTest
    return found + [(1, ast.literal_eval(reason)) for reason in re.findall(r"\.\.\. skipped (['\"].*['\"])$", text, re.M)]  # unittest


def failed(text):
    """What a failed test wrote of its failures, else the end of what it wrote."""
    output = text.partition("<end of output>")[0].splitlines()
    begin = next((i + 1 for i in range(len(output) - 1, -1, -1) if re.fullmatch("-{20,}", output[i])), 0)
    found = [line for line in output if re.match(r"E   |(FAILED|ERROR) .*::", line)]  # pytest
    found += [line for i, line in enumerate(output) if re.search(r": Failure$", line)  # GoogleTest: and what follows it
              for line in output[i:i + 4]]
    found += [line for line in output if re.match(r"(FAIL|ERROR): |\w*(Error|Exception)\b", line)]  # unittest
    return found[:LINES] or output[begin:][-LINES:]


def main():
    build = Path(sys.argv[1])
    reasons = {}
    for name, text in tests((build / "Testing/Temporary/LastTest.log").read_text(errors="replace")):
        if "\nTest Passed.\n" not in text:
            print(f"Failed: {name}", *failed(text), sep="\n    ")
        for count, reason in skipped(text):
            reasons.setdefault((name, reason), count)
    left_out = re.findall(r"^-- (Left out: .*)$", (build / "configure.log").read_text(errors="replace"), re.M)
    if not reasons and not left_out:
        print("No test was skipped.")
    for line in left_out:
        print(line)
    for (name, reason), count in reasons.items():
        print(f"Skipped: {name}, {count} of its tests: {reason}" if count > 1 else f"Skipped: {name}: {reason}")


main()
