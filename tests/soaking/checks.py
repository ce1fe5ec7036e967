"""What a soak promises, each as a verdict: a name, whether it held, and the figure."""

import statistics
from dataclasses import dataclass


@dataclass
class Verdict:
    name: str
    held: bool
    figure: str

    def __str__(self):
        return f"{'held  ' if self.held else 'FAILED'} {self.name}: {self.figure}"


def growth(values):
    """How much more the last tenth is than the first, as a fraction; medians, so that one slow second tells nothing."""
    tenth = max(1, len(values) // 10)
    return statistics.median(values[-tenth:]) / statistics.median(values[:tenth]) - 1


def constant_memory(rows, ranks, warm_tokens, limit):
    """`rows` are the sampler's; those before every session has filled its window do not count."""
    warm = [row for row in rows if row["tokens"] >= warm_tokens]
    if len(warm) < 2:
        return Verdict("constant memory", False, f"only {len(warm)} samples after the windows were full")
    grown = [growth([row[f"rss_{rank}"] for row in warm]) for rank in range(ranks)]
    peak = sum(max(row[f"rss_{rank}"] for row in warm) for rank in range(ranks)) / 2**20
    return Verdict("constant memory", max(grown) <= limit,
                   f"{max(grown):+.2%} in the rank that grew most; {peak:.0f} MiB in {ranks} ranks")


def flat_steps(rows, warm_tokens, limit):
    """The verdict is on CPU time, since the clock's time of a step depends on whatever else the machine does."""
    warm = [row for row in rows if row["reading"] and row["tokens"] >= warm_tokens]
    if len(warm) < 2:
        return Verdict("flat step time", False, f"only {len(warm)} samples after the windows were full")
    cpu = growth([row["step_cpu_seconds"] for row in warm])
    clock = [row["step_seconds"] for row in warm]
    return Verdict("flat step time", cpu <= limit, f"CPU time of a step {cpu:+.1%}, its time by the clock "
                   f"{growth(clock):+.1%}, {statistics.median(clock) * 1000:.2f} ms in the middle")


def equal_losses(together, reference, block, tokens, limit):
    """Losses of what the sessions read against one rank's. `limit`: nats a token, in the block that differs most."""
    if len(together) != len(reference):
        return Verdict("loss as on one rank", False, f"{len(reference)} of {len(together)} sessions were read again")
    worst = 0.0
    for one, other in zip(together, reference, strict=True):
        for index, (a, b) in enumerate(zip(one["losses"], other["losses"], strict=True)):
            worst = max(worst, abs(a - b) / min(block, tokens - index * block))
    mean = sum(sum(result["losses"]) for result in together) / (tokens * len(together))
    return Verdict("loss as on one rank", worst <= limit,
                   f"{mean:.4f} nats a token; {worst:.1e} apart in the block that differs most")


def equal_answers(together, alone):
    """Bit for bit: the losses' bits and the answer's text of each session, beside the others and by itself."""
    by_session = {result["session"]: result for result in alone}
    same = sum(result["answer"] == by_session.get(result["session"], {}).get("answer")
               and result["losses"] == by_session[result["session"]]["losses"] for result in together)
    return Verdict("text and losses as alone", same == len(together), f"{same} of {len(together)} sessions, bit for bit")


def honest_usage(together, tokens, capacity):
    """`tokens`: all but the answer's last, which is chosen and not read."""
    right = sum(result["usage"]["seen_tokens"] == tokens and result["usage"]["resident_tokens"] == min(tokens, capacity)
                and result["usage"]["evicted_tokens"] == max(0, tokens - capacity) for result in together)
    return Verdict("seen, resident and evicted add up", right == len(together),
                   f"{right} of {len(together)} sessions: {tokens:,} seen, {min(tokens, capacity):,} resident")


def ended_well(end):
    """After an orderly end: exit code 0 and nothing left."""
    return Verdict(f"nothing left after {end['what']}", end["exit"] == 0 and not end["left"],
                   f"exit {end['exit']} in {end['seconds']:.1f} s; " + (", ".join(end["left"]) or "nothing left"))


def ended_by_fault(end, bound_seconds):
    """After a fault: every stream was told, all ended in bounded time with an error, nothing is left."""
    held = (end["exit"] not in (0, None) and not end["left"] and end["seconds"] <= bound_seconds
            and end["told"] == end["streams"])
    return Verdict(f"fault: {end['what']}", held,
                   f"exit {end['exit']} after {end['seconds']:.1f} s (bound {bound_seconds:g}); {end['told']} of "
                   f"{end['streams']} streams were told; " + (", ".join(end["left"]) or "nothing left"))
