"""The soak's page: verdicts, plots and settings in one HTML file that needs nothing else."""

import html
import io
import json

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
.held { color: #17918a; } .failed { color: #d9322b; font-weight: bold; }
svg { width: 100%; height: auto; } pre { overflow-x: auto; background: #8881; padding: .8rem; }
"""
INK, GRID = "#7d8590", "#7d859040"  # mid-tones, legible on light and dark pages
COLOURS = ["#17918a", "#d9622b", "#8a63d2", "#3b7dd8"]


def plot(title, y_label, series):
    """An SVG. `series`: (name, xs, ys) each; x is always tokens."""
    figure, axes = plt.subplots(figsize=(9, 2.8))
    for (name, xs, ys), colour in zip(series, COLOURS * len(series)):
        axes.plot(xs, ys, label=name, color=colour, linewidth=1.2)
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel("tokens, all sessions together", color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(colors=INK)
    axes.grid(color=GRID)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    if len(series) > 1:
        axes.legend(frameon=False, labelcolor=INK, loc="lower right")
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight")
    plt.close(figure)
    return out.getvalue()[out.getvalue().index("<svg"):]


def plots(rows, together, reference, block, tokens, ranks):
    seen = [row["tokens"] for row in rows]
    reading = [row for row in rows if row["reading"]]
    drawn = [plot("Resident memory of each rank", "MiB", [
        (f"rank {rank}", seen, [row[f"rss_{rank}"] / 2**20 for row in rows]) for rank in range(ranks)])]
    drawn.append(plot("Time of a step while reading, mean of each second", "ms", [
        (name, [row["tokens"] for row in reading], [row[column] * 1000 for row in reading])
        for name, column in (("by the clock", "step_seconds"), ("on CPUs, all ranks", "step_cpu_seconds"))]))

    def means(results):
        blocks = list(zip(*(result["losses"] for result in results)))
        sizes = [min(block, tokens - index * block) for index in range(len(blocks))]
        xs = [(index * block + size) * len(results) for index, size in enumerate(sizes)]
        return xs, [sum(sums) / (size * len(results)) for sums, size in zip(blocks, sizes)]

    losses = [("this group", *means(together))]
    if reference:
        losses.append(("one rank on one host", *means(reference)))
    drawn.append(plot("Loss of what was read, mean of each block", "nats a token", losses))
    return drawn


def write_page(path, summary, verdicts, drawn):
    rows = "\n".join(
        f"<tr><td class={'held' if v.held else 'failed'}>{'✓' if v.held else '✗'}</td>"
        f"<td>{html.escape(v.name)}</td><td>{html.escape(v.figure)}</td></tr>" for v in verdicts)
    facts = "\n".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
                      for name, value in summary.items() if name != "verdicts")
    path.write_text(f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Soak</title>
<style>{STYLE}</style>
<h1>{"The soak held" if all(v.held for v in verdicts) else "The soak failed"}</h1>
<table>{rows}</table>
{"".join(drawn)}
<h2>What was run</h2><table>{facts}</table>
<details><summary>As JSON</summary><pre>{html.escape(json.dumps(summary, indent=1))}</pre></details>
</html>
""", encoding="utf-8")
