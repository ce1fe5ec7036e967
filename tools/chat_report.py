#!/usr/bin/env python3
"""Tells whether a conversation that stream-chat recorded stays fluent, and writes it down to be read.

Per part of the conversation: how sure the model was of its tokens (mean log-probability), how varied the answers are
(distinct-2: different pairs of words among all), how many run in a circle (some four words three times or more in one
answer), and how many only say again what one of the ten answers before them said. Fails when more than --limit of the answers of
any part do either. Needs nothing but Python.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

RECENT = 10  # answers that one may repeat


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="JSON lines of stream-chat")
    parser.add_argument("--parts", type=int, default=4, help="parts to compare (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=0.2, help="tolerated share of bad answers (default: %(default)s)")
    parser.add_argument("--markdown", type=Path, help="where the conversation goes, to be read")
    parser.add_argument("--about", type=Path, help="Markdown that goes above it: its title, how it was recorded")
    return parser.parse_args()


def ngrams(words, n):
    return [tuple(words[i:i + n]) for i in range(len(words) - n + 1)]


def runs_in_a_circle(text):
    counts = Counter(ngrams(text.lower().split(), 4))
    return max(counts.values(), default=0) >= 3


def says_again(text, before):
    """Whether most of its four-word sequences stand in one of the answers before; short ones: whether all is the same."""
    words = text.lower().split()
    own = set(ngrams(words, 4))
    if len(own) < 5:
        return any(words == other.lower().split() for other in before)
    return any(len(own & set(ngrams(other.lower().split(), 4))) > len(own) / 2 for other in before)


def measure(turns):
    """Each turn's two marks, by the answers alone."""
    answers = [turn["assistant"] for turn in turns]
    return [(runs_in_a_circle(answer), says_again(answer, answers[max(0, i - RECENT):i]))
            for i, answer in enumerate(answers)]


def table(turns, marks, parts):
    lines = ["| turns | tokens seen | tokens an answer | mean log-probability | distinct-2 | in a circle | said again |",
             "|---|---|---|---|---|---|---|"]
    shares = []
    for part in range(parts):
        begin, end = part * len(turns) // parts, (part + 1) * len(turns) // parts
        rows, size = turns[begin:end], end - begin
        pairs = [pair for row in rows for pair in ngrams(row["assistant"].lower().split(), 2)]
        tokens = sum(row["tokens"] for row in rows)
        logprob = sum(row["mean_logprob"] * row["tokens"] for row in rows) / max(tokens, 1)
        circles, again = (sum(mark[kind] for mark in marks[begin:end]) for kind in (0, 1))
        lines.append(f"| {begin + 1}–{end} | {rows[-1]['seen']:,} | {tokens / size:.0f} | {logprob:.2f} | "
                     f"{len(set(pairs)) / max(len(pairs), 1):.2f} | {circles} | {again} |")
        shares.append(sum(any(mark) for mark in marks[begin:end]) / size)
    return "\n".join(lines), max(shares)


def write_down(turns, figures, about, path):
    text = [about, figures + "\n"]
    for number, turn in enumerate(turns, start=1):
        answer = turn["assistant"].strip().replace("\n", "\n> ")
        text.append(f"**{number}. {turn['user']}**\n\n> {answer}{'' if turn['ended'] else ' …'}\n")
    path.write_text("\n".join(text), encoding="utf-8")


def main():
    arguments = parse_arguments()
    turns = [json.loads(line) for line in arguments.record.read_text(encoding="utf-8").splitlines()]
    if len(turns) < arguments.parts:
        sys.exit(f"{arguments.record}: {len(turns)} turns cannot be compared in {arguments.parts} parts")
    figures, worst = table(turns, measure(turns), arguments.parts)
    print(figures)
    if arguments.markdown:
        about = arguments.about.read_text(encoding="utf-8") if arguments.about else "# A recorded conversation\n"
        write_down(turns, figures, about, arguments.markdown)
    if worst > arguments.limit:
        sys.exit(f"{worst:.0%} of the answers of one part run in a circle or say again what was said")


if __name__ == "__main__":
    main()
