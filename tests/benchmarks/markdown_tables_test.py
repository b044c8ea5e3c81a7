"""The tables that go into the documentation."""

from benchmarks.side_by_side import markdown_tables
from benchmarks.side_by_side.samples import summarize


def contestant(label, seconds, **more):
    return {
        "label": label,
        "job": {"batch_size": 8},
        "seconds": summarize(seconds),
        "items": 8,
        "items_per_second": 8 / seconds[0],
        "first_peak_bytes": 2e9,
        "steady_peak_bytes": 1.5e9,
        "compile_seconds": 3.21,
        "flops": 4e9,
        "peak_fraction": 0.625,
        **more,
    }


def result(**more):
    ours, peer = contestant("official_coca", [0.01]), contestant("open_clip", [0.04], flops=6e9)
    equal = {"token_ids": {"equal": True, "largest_difference": 0}}
    found = {"name": "caption_greedy_8", "model": "B/32", "unit": "image", "outputs": equal}
    return {**found, "contestants": [ours, peer], **more}


def cells(table, line=2):
    return [cell.strip() for cell in table.splitlines()[line].strip("|").split("|")]


def test_ratio_comes_first():
    row = cells(markdown_tables.results_table([result()]))
    assert row[:3] == ["**4.00**", "caption_greedy_8", "B/32"]
    assert "official_coca 10 ms (±0%)" in row and "open_clip 40 ms (±0%)" in row
    assert "800 images / 200 images" in row
    assert "4 / 6 (ratio 1.50)" in row
    assert "62%" in row and "3.2 s" in row and "2.00 GB" in row
    assert row[-1] == "token_ids yes (0)"


def test_every_row_has_the_cells_of_the_head():
    failed = {"name": "x", "model": "y", "failure": "no | memory\nleft"}
    alone = result(contestants=[contestant("official_coca", [1.5])], outputs={})
    cold = contestant("official_coca", [1.5])
    for name in ("compile_seconds", "flops", "peak_fraction", "steady_peak_bytes"):
        del cold[name]
    rows = [result(), failed, alone, result(contestants=[cold, cold])]
    table = markdown_tables.results_table(rows)
    assert {len(cells(table, line)) for line in range(len(rows) + 2)} == {11}
    assert "no / memory left" in table


def test_several_training_steps_are_shown_as_their_mean():
    row = cells(markdown_tables.results_table([result(unit="step")]))
    assert "official_coca 1.25 ms (±0%)" in row and "0.5 / 0.75 (ratio 1.50)" in row


def test_outputs_that_differ_stand_out():
    unequal = {"token_ids": {"equal": False, "largest_difference": None}}
    assert "token_ids NO (other shape)" in markdown_tables.results_table([result(outputs=unequal)])


def test_memory_against_batch():
    row = cells(markdown_tables.memory_table([result(name="memory_8")]))
    assert row == ["B/32", "8", "2.00 GB / 2.00 GB", "10 ms (±0%) / 40 ms (±0%)"]


def test_profile_shows_the_largest_and_sums_up_the_rest():
    rows = [("MatMul", 0.6), ("Add", 0.3), ("Mul", 0.1)]
    table = markdown_tables.profile_table("ours", "operation", rows, 1)
    assert cells(table) == ["`MatMul`", "600.00", "60.0%"]
    assert cells(table, 3) == ["all others", "400.00", "40.0%"]
