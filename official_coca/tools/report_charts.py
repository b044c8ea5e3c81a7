"""The charts of a report, each a function from arrays to the bytes of a PNG.

Matplotlib is used through its objects and not through pyplot, so nothing global changes and no
display is needed. Charts are drawn at phone width, and the page sets them side by side.

Shapes: S logged steps, C classes, N points, E embedding width.
"""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, QUIET, GRID = "#1d2733", "#66717f", "#e3e7ec"
LINE_COLOURS = ("#2563c9", "#e0771b", "#16803c", "#8e44ad", "#b8336a", "#0e8a8a")
# Ten colours that stay apart for most kinds of colour vision (Tableau 10).
CLASS_COLOURS = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f",
    "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#79706e",
)  # fmt: skip


def line_chart(title, steps, lines, percent=False):
    """Curves over training steps, each named at its end.

    Args:
        title: what is measured.
        steps: (S,).
        lines: {name: (S,) values}; the first is drawn strongest, NaN leaves a gap.
        percent: whether the values are shares, shown from 0 to 100%.
    """
    figure, axes = _figure(4.6, 3.0)
    ends = []
    for number, (name, values) in enumerate(lines.items()):
        colour = INK if number == 0 else LINE_COLOURS[(number - 1) % len(LINE_COLOURS)]
        axes.plot(steps, values, color=colour, linewidth=2 if number == 0 else 1.5)
        known = np.flatnonzero(np.isfinite(values))
        if len(known):
            ends.append((values[known[-1]], name, colour))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel("step", color=QUIET)
    if percent:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", color=GRID)
    _name_line_ends(axes, ends)
    return _png(figure)


def confusion_chart(matrix, class_names):
    """A confusion matrix whose colours are shares of the row and whose numbers are counts.

    Args:
        matrix: (C, C) counts; rows are true classes, columns predictions.
        class_names: C names.
    """
    count = len(class_names)
    figure, axes = _figure(5.2, 5.2)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), class_names, rotation=45, ha="right")
    axes.set_yticks(range(count), class_names)
    axes.set_xlabel("the model says", color=QUIET)
    axes.set_ylabel("it is", color=QUIET)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= 20:
        for row, column in np.argwhere(matrix > 0):
            colour = "white" if shares[row, column] > 0.5 else INK
            text = str(matrix[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    return _png(figure)


def map_chart(title, points, labels, class_names):
    """A flat map of an embedding space, each class in its colour and named at its middle.

    Args:
        title: what the points are.
        points: (N, E).
        labels: (N,) class indices.
        class_names: C names.
    """
    figure, axes = _figure(4.8, 4.4)
    places, explained = principal_plane(points)
    for index, name in enumerate(class_names):
        members = places[labels == index]
        if not len(members):
            continue
        colour = CLASS_COLOURS[index % len(CLASS_COLOURS)]
        axes.scatter(*members.T, s=16, color=colour, alpha=0.65, linewidths=0)
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.9}
        middle = np.median(members, axis=0)
        axes.annotate(name, middle, ha="center", va="center", fontsize=9, color=INK, bbox=box)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(f"{explained:.0%} of the variance is in this plane", color=QUIET)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)
    return _png(figure)


def principal_plane(points):
    """(N, E) points → their (N, 2) principal coordinates and the share of variance in them."""
    centred = points - points.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    total = np.sum(lengths**2)
    places = centred @ axes[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return places, float(np.sum(lengths[:2] ** 2) / total) if total > 0 else 1.0


def _name_line_ends(axes, ends):
    """Writes each line's name beside its end, moved apart where two would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    spacing = 0.085 * (high - low)
    ends = sorted(ends)
    heights = []
    for value, _, _ in ends:
        heights.append(max(value, heights[-1] + spacing) if heights else value)
    lift = np.mean([height - end[0] for height, end in zip(heights, ends, strict=True)])
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        axes.annotate(
            name,
            (1.01, height - lift),
            xycoords=("axes fraction", "data"),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def _figure(width, height):
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=QUIET, labelsize=9)
    return figure, axes


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
