"""Results as Markdown tables."""


def results_table(results):
    """A row for each comparison, the ratio to the peer first.

    The ratio is the second contestant's time over the first's: how many times as fast as the peer
    we are, and what CoCa costs where the first is a dual encoder. Times and operations are of one
    batch, the median with the spread between the quartiles.
    """
    head = (
        "ratio", "job", "model", "first", "second", "a second", "GFLOP", "of matmul peak",
        "compile", "peak memory", "same output",
    )  # fmt: skip
    return table(head, [_row(result) for result in results])


def memory_table(results):
    """Peak memory of a training step against the batch."""
    rows = []
    for result in results:
        if "failure" in result:
            rows.append((result["model"], result["name"].rpartition("_")[2], "failed", ""))
            continue
        sides = [_gigabytes(contestant) for contestant in result["contestants"]]
        times = [_time(contestant["seconds"]) for contestant in result["contestants"]]
        batch = result["contestants"][0]["job"]["batch_size"]
        rows.append((result["model"], batch, " / ".join(sides), " / ".join(times)))
    return table(("model", "batch", "peak memory, ours / peer", "a step, ours / peer"), rows)


def profile_table(label, group, rows, count=15):
    """Where the time of a call goes; times of all threads together."""
    total = sum(seconds for _, seconds in rows)
    shown = [
        (f"`{name}`", f"{1000 * seconds:.2f}", f"{seconds / total:.1%}")
        for name, seconds in rows[:count]
    ]
    rest = sum(seconds for _, seconds in rows[count:])
    shown.append(("all others", f"{1000 * rest:.2f}", f"{rest / total:.1%}"))
    return table((f"{label}, by {group}", "ms a call", "share"), shown)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _row(result):
    if "failure" in result:
        reason = " ".join(result["failure"].split()).replace("|", "/")
        return ("failed", result["name"], result["model"], reason[:200], *[""] * 7)
    contestants = [_of_one_step(one, result["unit"]) for one in result["contestants"]]
    medians = [contestant["seconds"]["median"] for contestant in contestants]
    ratio = f"**{medians[1] / medians[0]:.2f}**" if len(medians) > 1 else ""
    other = _labelled(contestants[1]) if len(contestants) > 1 else ""
    return (
        ratio,
        result["name"],
        result["model"],
        _labelled(contestants[0]),
        other,
        _both(contestants, lambda one: _rate(one, result["unit"])),
        _operations(contestants),
        _both(
            contestants,
            lambda one: f"{one['peak_fraction']:.0%}" if "peak_fraction" in one else "",
        ),
        _both(
            contestants,
            lambda one: f"{one['compile_seconds']:.1f} s" if "compile_seconds" in one else "",
        ),
        _both(contestants, _gigabytes),
        _equality(result["outputs"]),
    )


def _of_one_step(contestant, unit):
    """A training job takes several steps, on batches of different lengths; shown is their mean."""
    if unit != "step":
        return contestant
    seconds, items = contestant["seconds"], contestant["items"]
    changed = {"seconds": {**seconds, "median": seconds["median"] / items}}
    if "flops" in contestant:
        changed["flops"] = contestant["flops"] / items
    return {**contestant, **changed}


def _operations(contestants):
    counts = [contestant["flops"] for contestant in contestants if "flops" in contestant]
    if not counts:
        return ""
    ratio = f" (ratio {counts[1] / counts[0]:.2f})" if len(set(counts)) > 1 else ""
    return " / ".join(f"{count / 1e9:.4g}" for count in dict.fromkeys(counts)) + ratio


def _labelled(contestant):
    return f"{contestant['label']} {_time(contestant['seconds'])}"


def _time(seconds):
    median = seconds["median"]
    text = f"{median:.2f} s" if median >= 1 else f"{1000 * median:.3g} ms"
    return f"{text} (±{seconds['spread']:.0%})"


def _rate(contestant, unit):
    rate = contestant["items_per_second"]
    return f"{rate:,.0f} {unit}s" if rate >= 1000 else f"{rate:.3g} {unit}s"


def _both(contestants, text_of):
    texts = [text_of(contestant) for contestant in contestants]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _gigabytes(contestant):
    peak = contestant.get("steady_peak_bytes", contestant["first_peak_bytes"])
    return f"{max(peak, contestant['first_peak_bytes']) / 1e9:.2f} GB"


def _equality(outputs):
    parts = []
    for name, compared in sorted(outputs.items()):
        difference = compared["largest_difference"]
        size = "other shape" if difference is None else f"{difference:.1g}"
        parts.append(f"{name} {'yes' if compared['equal'] else 'NO'} ({size})")
    return ", ".join(parts)
