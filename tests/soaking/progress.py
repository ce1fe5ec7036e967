"""How far the soak is, and what a run before this one has already shown."""

import json
import sys
import time


class Progress:
    """Counts tokens against all that will be read or written; says so every `every` seconds, or in place on a terminal."""

    def __init__(self, total_tokens, every=15):
        self.total = total_tokens
        self.done = 0
        self._begin = time.monotonic()
        self._skipped = 0
        self._next = self._begin
        self._every = 1 if sys.stdout.isatty() else every

    def skip(self, tokens):
        """Shown by an earlier run."""
        self.done += tokens
        self._skipped += tokens

    def tell(self, phase, under_way):
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every
        tokens = self.done + under_way
        rate = (tokens - self._skipped) / max(now - self._begin, 1e-3)
        left = f"about {(self.total - tokens) / rate / 60:.0f} min left" if rate > 0 else "just begun"
        line = f"{phase}: {100 * tokens / self.total:.0f} % of {self.total:,} tokens, {rate:,.0f} a second, {left}"
        print(f"\r{line}   " if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)


class Record:
    """JSON lines of what is done, {"phase", "value"} each. A soak that was cut off goes on behind the last whole one."""

    def __init__(self, path, settings):
        self._path = path
        self._lines = whole_lines(path)
        if not self._lines:
            path.write_text("")
            self.add("settings", settings)
        elif self.of("settings") != [settings]:
            sys.exit(f"tests/soak: {path} is of another soak, {self.of('settings')}; give another --output")
        else:
            path.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

    def add(self, phase, value):
        line = {"phase": phase, "value": value}
        self._lines.append(line)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, phase):
        return [line["value"] for line in self._lines if line["phase"] == phase]


def whole_lines(path):
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break  # torn off while it was written
    return lines
