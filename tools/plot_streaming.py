#!/usr/bin/env python3
"""Draws the picture of the whole idea from what tools/stream-perplexity measured.

Input: one or more CSV files with the columns mode,tokens,nll,seconds,resident_bytes; a row tells of one block of tokens:
how many had been seen at its end, its mean negative log-likelihood a token, and the memory then. A mode may
end early, as dense does when it is refused.
Output: two panels over the tokens seen, as an SVG that reads well on light and on dark pages.
"""

import argparse
import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

# Mid-tones, so that they stand out from white and from near-black alike.
INK = "#7d8590"
GRID = "#7d859040"
MODES = {
    "dense": ("dense: keeps everything", "#8a63d2"),
    "window": ("window: keeps the newest", "#d9622b"),
    "sink": ("sink: keeps the first few and the newest", "#17918a"),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("docs/images/streaming.svg"))
    parser.add_argument("--smooth", type=int, default=2000, help="tokens that a point is the mean of (default: %(default)s)")
    return parser.parse_args()


def read_blocks(paths):
    """mode -> rows (tokens, nll, resident_bytes) in order."""
    blocks = defaultdict(list)
    for path in paths:
        with path.open(newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    values = int(row["tokens"]), float(row["nll"]), float(row["resident_bytes"])
                except (KeyError, TypeError, ValueError):
                    sys.exit(f"{path}:{line}: expected the columns mode,tokens,nll,seconds,resident_bytes")
                if row["mode"] not in MODES:
                    sys.exit(f"{path}:{line}: unknown mode {row['mode']!r}; there are {', '.join(MODES)}")
                blocks[row["mode"]].append(values)
    if not blocks:
        sys.exit("no measurements in " + ", ".join(map(str, paths)))
    return {mode: sorted(blocks[mode]) for mode in MODES if mode in blocks}


def smoothed(rows, smooth):
    """Trailing mean of the blocks' losses over `smooth` tokens, each block weighted with its tokens."""
    begins = [0] + [tokens for tokens, _, _ in rows]
    means = []
    first = 0
    weight = total = 0.0
    for index, (tokens, nll, _) in enumerate(rows):
        if not math.isfinite(nll):
            sys.exit(f"the loss at token {tokens} is not a number")
        weight += tokens - begins[index]
        total += nll * (tokens - begins[index])
        while begins[first + 1] <= tokens - smooth:
            length = begins[first + 1] - begins[first]
            weight -= length
            total -= rows[first][1] * length
            first += 1
        means.append(total / weight)
    return means


def thousands(value, _):
    return f"{value / 1000:g}k" if value else "0"


def style(axes, title):
    axes.set_title(title, loc="left", color=INK, fontsize=11, pad=10)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.set_xlabel("tokens seen", color=INK)


def draw(blocks, smooth):
    figure, (loss, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06, h_pad=0.1)
    style(loss, f"Loss a token (mean of {smooth:,})")
    style(memory, "Resident memory (MiB)")
    longest = max(rows[-1][0] for rows in blocks.values())
    for mode, rows in blocks.items():
        label, color = MODES[mode]
        tokens = [row[0] for row in rows]
        losses = smoothed(rows, smooth)
        mebibytes = [row[2] / 2**20 for row in rows]
        memory_width = 5 if mode == "window" else 2  # it lies under sink's line
        for axes, values, width in ((loss, losses, 2), (memory, mebibytes, memory_width)):
            axes.plot(tokens, values, color=color, linewidth=width, solid_capstyle="round", label=label)
            if tokens[-1] < 0.98 * longest:
                axes.plot(tokens[-1], values[-1], "o", color=color, markersize=6)
        if tokens[-1] < 0.98 * longest:
            memory.annotate(f"refused at {tokens[-1]:,}", (tokens[-1], mebibytes[-1]), xytext=(10, 0),
                            textcoords="offset points", color=color, va="center", fontsize=9.5)
    memory.set_ylim(bottom=0)
    for axes in (loss, memory):
        axes.set_xlim(0, longest)
    handles, labels = loss.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(blocks), frameon=False, labelcolor=INK)
    return figure


def main():
    arguments = parse_arguments()
    matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "streaming", "font.family": "DejaVu Sans"})
    figure = draw(read_blocks(arguments.csv), arguments.smooth)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, transparent=True, metadata={"Date": None} if arguments.output.suffix == ".svg" else None)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
