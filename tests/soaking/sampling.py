"""Memory of each rank and cost of the steps, once a second, while sessions stream."""

import csv
import re
import threading
import time
import urllib.request

from processes import cpu_seconds, resident_bytes


def step_times(url):
    """How many steps the group has made and how long they took in all."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        text = response.read().decode()
    count, total = (float(re.search(rf"^sinkstream_step_seconds_{what} (\S+)", text, re.MULTILINE)[1])
                    for what in ("count", "sum"))
    return int(count), total


class Sampler(threading.Thread):
    """Rows of dicts: seconds, tokens, reading (whether every session still reads), step_seconds and step_cpu_seconds
    (means since the last row, the latter of all ranks together), rss_<rank> for each. Written to `path` as they come."""

    def __init__(self, url, ranks, sessions, prompt_tokens, path, every=1.0):
        super().__init__(name="sampler", daemon=True)
        self.rows = []
        self._url, self._ranks, self._sessions, self._prompt_tokens = url, ranks, sessions, prompt_tokens
        self._path, self._every = path, every
        self._ended = threading.Event()

    def stop(self):
        self._ended.set()
        self.join()

    def run(self):
        begin = time.monotonic()
        last_count, last_total = step_times(self._url)
        last_cpu = sum(map(cpu_seconds, self._ranks))
        names = ["seconds", "tokens", "reading", "step_seconds", "step_cpu_seconds",
                 *(f"rss_{rank}" for rank in range(len(self._ranks)))]
        with open(self._path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            while not self._ended.wait(self._every):
                try:
                    count, total = step_times(self._url)
                except OSError:
                    continue  # the group is ending
                if count == last_count:
                    continue
                cpu = sum(map(cpu_seconds, self._ranks))
                row = {"seconds": round(time.monotonic() - begin, 3), "tokens": sum(s.tokens for s in self._sessions),
                       "reading": int(all(s.tokens < self._prompt_tokens for s in self._sessions)),
                       "step_seconds": round((total - last_total) / (count - last_count), 7),
                       "step_cpu_seconds": round((cpu - last_cpu) / (count - last_count), 7)}
                row |= {f"rss_{rank}": resident_bytes(pid) for rank, pid in enumerate(self._ranks)}
                last_count, last_total, last_cpu = count, total, cpu
                self.rows.append(row)
                writer.writerow(row)
                file.flush()
