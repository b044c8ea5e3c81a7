"""The sections of a report that set pictures beside what a model made of them.

Each function adds one section to a page, from the `details` of an evaluator and the pictures that
it saw.

Shapes: N images, T captions, M images whose attention is shown, Q queries, P patches; h, w size of
a picture.
"""

import difflib

import numpy as np

from official_coca.evaluation.zero_shot import confusion_matrix
from official_coca.tools import report_charts, report_page
from official_coca.tools.report_page import block, escape
from official_coca.tools.report_pictures import attention_png, picture_png

_MISTAKES_SHOWN = 16
_QUERIES_SHOWN = 6
_CAPTIONS_SHOWN = 24


def add_captions(page, details):
    """Pictures, each beside its caption, right or wrong."""
    matches = np.asarray(details["exact_match"])
    cards = []
    for number in range(min(_CAPTIONS_SHOWN, len(matches))):
        caption, references = details["captions"][number], details["references"][number]
        image = report_page.image(picture_png(details["images"][number]), caption, "pixels")
        if matches[number]:
            text = f'<span class="right mark">✓</span> {escape(caption)}'
        else:
            closest = max(references, key=lambda reference: _likeness(caption, reference))
            text = (
                f'<span class="wrong mark">✗</span> {mark_differences(caption, closest)}'
                f'<div class="quiet small">it is: {escape(closest)}</div>'
            )
        cards.append(block("card", image, f"<div>{text}</div>"))
    page.add_section(
        "captions",
        "Captions: what does it see?",
        f"The first {len(cards)} scenes of the test set, with the caption the model wrote. Of all "
        f"{len(matches)} captions {matches.sum()} equal a reference word for word. Underlined "
        "words differ from it.",
        block("grid cards", *cards),
        _tokenizer_note(details),
    )


def _tokenizer_note(details):
    if "tokenizer" not in details:
        return ""
    left_out = "".join(
        f" {name.upper()} was left out: {reason}."
        for name, reason in details["left_out"].items()
        if name != "tokenizer"
    )
    note = f"Caption metrics were computed with the tokenizer {details['tokenizer']!r}.{left_out}"
    return f'<p class="quiet small" style="margin:1.2rem 0 0">{escape(note)}</p>'


def add_zero_shot(page, details):
    """The confusion matrix beside pictures that were read wrong."""
    names = details["class_names"]
    labels, predictions = np.asarray(details["labels"]), np.asarray(details["predictions"])
    matrix = confusion_matrix(labels, predictions, len(names))
    wrong = np.flatnonzero(labels != predictions)
    pictures = [
        report_page.figure(
            picture_png(details["images"][number]),
            names[labels[number]],
            f"{names[labels[number]]}, read as {names[predictions[number]]}",
        )
        for number in wrong[:_MISTAKES_SHOWN]
    ]
    mistakes = f"<h3>{len(wrong)} of {len(labels)} were read wrong</h3>"
    if pictures:
        mistakes += block("row", *pictures)
    chart = report_page.image(
        report_charts.confusion_chart(matrix, names), "confusion matrix", "chart"
    )
    page.add_section(
        "zero-shot",
        "Zero-shot: which digit is it?",
        "No classifier was trained. Each digit is the mean embedding of sentences such as “a "
        "photo of the three”, and an image gets the digit it lies nearest to. Rows are what it is, "
        "columns what the model said.",
        block("grid halves", f"<div>{chart}</div>", f"<div>{mistakes}</div>"),
    )


def add_retrieval(page, details):
    """Captions with the images found for them, and images with the captions found."""
    text_ranks = np.asarray(details["text_to_image_ranks"])
    image_ranks = np.asarray(details["image_to_text_ranks"])
    searches = [_text_query(details, number) for number in _examples(text_ranks)]
    lookups = [_image_query(details, number) for number in _examples(image_ranks)]
    page.add_section(
        "retrieval",
        "Retrieval: searching by words and by picture",
        f"{len(text_ranks)} captions and {len(image_ranks)} scenes in one embedding space, ranked "
        f"by nearness. The first {_QUERIES_SHOWN // 2} queries of the test set, then the first "
        "that failed; the right answer is framed or marked.",
        block(
            "grid halves",
            block("", "<h3>A caption looks for its image</h3>", *searches),
            block("", "<h3>An image looks for its caption</h3>", *lookups),
        ),
    )


def _examples(ranks):
    """Half of the shown queries are the first ones, half the first that were not found first."""
    half = _QUERIES_SHOWN // 2
    missed = [number for number in np.flatnonzero(ranks > 0) if number >= half][:half]
    return [*range(min(half, len(ranks))), *missed]


def _text_query(details, number):
    right = details["text_image_index"][number]
    pictures = [
        report_page.figure(
            picture_png(details["images"][image]), f"image {image}", is_framed=image == right
        )
        for image in details["text_to_image_top"][number]
    ]
    text = escape(details["texts"][number])
    return block(
        "query",
        block("text", f"“{text}”"),
        block("row", *pictures),
        _rank_note(details["text_to_image_ranks"][number]),
    )


def _image_query(details, number):
    items = []
    for text in details["image_to_text_top"][number]:
        is_right = details["text_image_index"][text] == number
        mark = ' <span class="mark">✓</span>' if is_right else ""
        css_class = ' class="right"' if is_right else ""
        items.append(f"<li{css_class}>{escape(details['texts'][text])}{mark}</li>")
    picture = report_page.image(
        picture_png(details["images"][number]), f"image {number}", "pixels"
    )
    return block(
        "query",
        block("card", picture, f'<ol class="captions">{"".join(items)}</ol>'),
        _rank_note(details["image_to_text_ranks"][number]),
    )


def _rank_note(rank):
    if rank == 0:
        return '<div class="rank right">found first</div>'
    return f'<div class="rank wrong">the right one came at place {rank + 1}</div>'


def add_attention(page, attention):
    """Pictures under the pooler's attention, {"images", "weights" (M, heads, Q, P), "grid"}."""
    cards = []
    for image, weights, title in zip(
        attention["images"], np.asarray(attention["weights"]), attention["titles"], strict=True
    ):
        per_head = weights.mean(axis=1)
        figures = [report_page.figure(picture_png(image), title, "image")]
        maps = {"all heads": per_head.mean(axis=0)}
        maps.update({f"head {head}": per_head[head - 1] for head in range(1, len(per_head) + 1)})
        figures += [
            report_page.figure(attention_png(image, heat, attention["grid"]), name, name, "smooth")
            for name, heat in maps.items()
        ]
        cards.append(block("query", block("text", escape(title)), block("row", *figures)))
    page.add_section(
        "attention",
        "Attention: where does it look?",
        "The pooler gathers an image into its embedding. Bright spots are the patches it draws "
        "from most, averaged over its queries; each map has its own scale.",
        block("grid wide-halves", *cards),
    )


def mark_differences(caption, reference):
    """The caption as HTML, the words that the reference lacks at their place underlined."""
    ours, theirs = caption.split(), reference.split()
    parts = []
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        words = escape(" ".join(ours[start:end]))
        if words:
            parts.append(words if kind == "equal" else f"<del>{words}</del>")
    return " ".join(parts) or "<del>(nothing)</del>"


def _likeness(caption, reference):
    return difflib.SequenceMatcher(a=caption.split(), b=reference.split(), autojunk=False).ratio()
