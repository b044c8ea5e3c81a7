"""The report of the demo: what a small CoCa learned about handwritten digits, with pictures.

`write_report` takes plain arrays: the evaluators' `details` with the pictures added, and the
training log. It needs no model.

Shapes: N images, T texts, C classes, E embedding width, S logged steps, M images whose attention
is shown, Q queries, P patches; h, w size of a picture.
"""

import csv
import pathlib

import numpy as np

from official_coca.errors import InvalidInputError
from official_coca.tools import report_charts, report_page, report_sections

# Columns of the log that get a chart, and whether they are shares. "<source>/<column>" joins in.
_CURVES = {
    "loss": ("Total loss", False),
    "contrastive_loss": ("Contrastive loss", False),
    "captioning_loss": ("Captioning loss", False),
    "image_to_text_accuracy": ("Right text found in the batch", True),
    "token_accuracy": ("Next token predicted", True),
    "temperature": ("Temperature of the contrastive loss", False),
}


def write_report(
    path,
    *,
    metrics,
    log_csv,
    zero_shot_details,
    retrieval_details,
    captioning_details,
    attention,
    embeddings,
    facts=None,
):
    """Writes the self-contained page `path`. Pictures are uint8, or floats from -1 to 1.

    Args:
        path: where the page goes, such as runs/demo/report.html.
        metrics: {name: number} with at least "zero_shot_top1", "caption_exact_match",
            "retrieval_i2t_r1", "retrieval_t2i_r1" and "train_seconds"; all are listed.
        log_csv: training log with a column "step" and the model's metric names.
        zero_shot_details: ZeroShotEvaluator's, and "images" (N, h, w, 3).
        retrieval_details: RetrievalEvaluator's, and "images" (N, h, w, 3).
        captioning_details: CaptioningEvaluator's, and "images" (N, h, w, 3).
        attention: {"images" (M, h, w, 3), "weights" (M, heads, Q, P), "grid" (rows, columns),
            "titles" M strings}.
        embeddings: {"image_embeddings" (N, E), "image_labels" (N,), "text_embeddings" (T, E),
            "text_labels" (T,), "class_names" C strings}.
        facts: {name: value} for the line under the title.
    """
    page = report_page.Page(
        "CoCa on handwritten digits",
        "One small model, trained from nothing, names digits, describes scenes and searches them. "
        "All pictures on this page are test images; none of their handwriting was in training.",
        facts or {},
    )
    page.add_tiles(headline_tiles(metrics))
    report_sections.add_captions(page, captioning_details)
    report_sections.add_zero_shot(page, zero_shot_details)
    report_sections.add_retrieval(page, retrieval_details)
    report_sections.add_attention(page, attention)
    _add_maps(page, embeddings)
    _add_curves(page, log_csv)
    _add_all_numbers(page, metrics)
    page.write(path)


def headline_tiles(metrics):
    """The five numbers of the demo."""
    minutes, seconds = divmod(round(metrics["train_seconds"]), 60)
    return [
        report_page.tile(
            _percent(metrics["zero_shot_top1"]),
            "digits named right",
            "zero-shot, by comparing the image with a sentence for each of ten digits",
        ),
        report_page.tile(
            _percent(metrics["caption_exact_match"]),
            "scenes described word for word",
            "every colour, digit and place right",
        ),
        report_page.tile(
            _percent(metrics["retrieval_t2i_r1"]),
            "right image found first",
            "for a caption, among all test scenes",
        ),
        report_page.tile(
            _percent(metrics["retrieval_i2t_r1"]),
            "right caption found first",
            "for an image, among all test captions",
        ),
        report_page.tile(f"{minutes}:{seconds:02d}", "minutes of training", "on this machine"),
    ]


def _add_maps(page, embeddings):
    names = embeddings["class_names"]
    charts = [
        report_charts.map_chart(
            title, np.asarray(embeddings[f"{kind}_embeddings"]),
            np.asarray(embeddings[f"{kind}_labels"]), names,
        )  # fmt: skip
        for kind, title in (("image", "Images"), ("text", "Texts"))
    ]
    page.add_section(
        "map",
        "Maps: how is its world arranged?",
        "Embeddings of images and of texts, flattened from many dimensions to the two in which "
        "they differ most (PCA, for images and texts apart). Points of one digit share a colour; "
        "what overlaps here may well be apart in another dimension.",
        report_page.chart_grid(charts, "map of embeddings"),
    )


def _add_curves(page, log_csv):
    columns = read_log(log_csv)
    steps = columns["step"]
    charts = []
    for name, (title, percent) in _CURVES.items():
        if name not in columns:
            continue
        lines = {"all": columns[name]}
        for column, values in columns.items():
            source, _, metric = column.rpartition("/")
            if source and metric == name:
                lines[source] = values
        if len(lines) == 1:
            lines = {"": columns[name]}
        charts.append(report_charts.line_chart(title, steps, lines, percent))
    page.add_section(
        "training",
        "Training: how did it learn?",
        f"{int(steps[-1]):,} steps. Coloured curves are the sources of the training mixture, the "
        "black one is all of them together.",
        report_page.chart_grid(charts, "training curve"),
    )


def _add_all_numbers(page, metrics):
    page.add_section(
        "numbers",
        "All numbers",
        "As written to metrics.json.",
        report_page.table(
            (name, f"{value:.4g}" if isinstance(value, float) else value)
            for name, value in metrics.items()
        ),
    )


def read_log(path):
    """Returns {column: (S,) floats} of a CSV log; what is no number becomes NaN.

    Columns without a single number are left out.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InvalidInputError(f"the training log {path} does not exist; give the log of a run")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "step" not in rows[0]:
        raise InvalidInputError(f"the training log {path} has no rows with a column 'step'")
    columns = {name: np.array([_number(row[name]) for row in rows]) for name in rows[0]}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return np.nan


def _percent(share):
    return f"{100 * share:.1f}%"
