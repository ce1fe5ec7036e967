"""tools/soak.py, briefly: a long stream whose time and memory stay flat."""

import csv
import subprocess
import sys

from group import PROJECT

NUM_TOKENS = 3000


def soak(group, num_tokens, csv_path, *options):
    return subprocess.run(
        [sys.executable, PROJECT / "tools/soak.py", "--url", group.url, "--tokens", str(num_tokens), "--csv", csv_path,
         "--pids", *map(str, group.ranks), *options],
        capture_output=True, text=True, timeout=300)


def test_long_stream_keeps_its_memory(group, tmp_path):
    result = soak(group, NUM_TOKENS, tmp_path / "soak.csv", "--every", "250")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = list(csv.DictReader(open(tmp_path / "soak.csv")))
    assert [int(row["tokens"]) for row in rows] == list(range(250, NUM_TOKENS + 1, 250))
    assert all(float(row["seconds_per_token"]) > 0 for row in rows)
    memory = [sum(int(row[f"rss_bytes_rank{rank}"]) for rank in range(2)) for row in rows]
    assert memory[-1] < 1.05 * memory[1]


def test_soak_fails_when_memory_grows(group, tmp_path):
    result = soak(group, 300, tmp_path / "soak.csv", "--every", "100", "--limit", "-1")
    assert result.returncode == 1
    assert "grew" in result.stdout
