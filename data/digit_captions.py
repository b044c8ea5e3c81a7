"""Captions of the digit scenes: the canonical sentence, and the noise of alt-text around it."""

import html

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CANONICAL_SHARE = 0.70  # of the training captions
EMPTY_SHARE = 0.02  # dropped again by the input pipeline
JUNK_SHARE = 0.03
_JUNK = ("IMG_{:04d}.jpg", "untitled", "DSC{:05d}", "image {}", "scan{:03d}.png")
_PHOTO_PREFIXES = ("photo of ", "a photo of ", "picture of ", "a picture showing ")


def canonical_caption(things, vertical=False):
    """Returns the clean caption of a scene.

    Args:
        things: one to three `(colour, digit name)` pairs in reading order.
        vertical: whether two things stand one above the other rather than side by side.
    """
    phrases = [noun_phrase(colour, name) for colour, name in things]
    if len(phrases) == 2:
        return phrases[0] + (" above " if vertical else " to the left of ") + phrases[1]
    return _enumeration(phrases, "and")


def noisy_caption(things, vertical, rng):
    """Returns a training caption: mostly canonical, else varied, junk or empty.

    Args:
        things: one to three `(colour, digit name)` pairs in reading order.
        vertical: whether two things stand one above the other rather than side by side.
        rng: `numpy.random.Generator`.
    """
    draw = rng.random()
    if draw < CANONICAL_SHARE:
        return canonical_caption(things, vertical)
    if draw < CANONICAL_SHARE + EMPTY_SHARE:
        return "" if rng.random() < 0.5 else "  "
    if draw < CANONICAL_SHARE + EMPTY_SHARE + JUNK_SHARE:
        return _JUNK[rng.integers(len(_JUNK))].format(rng.integers(10_000))
    variations = (_without_colours, _photo_of, _odd_case, _odd_space)
    if len(things) > 1:
        variations += (_joined_by_and, _joined_by_entity)
    if len(things) == 2:
        variations += (_reversed_order, _reversed_order)
    return variations[rng.integers(len(variations))](things, vertical, rng)


def cleaned(caption):
    """Returns the caption as the input pipeline leaves it: entities and white space resolved."""
    return " ".join(html.unescape(caption).split())


def noun_phrase(colour, name):
    """Returns such as `"a red three"`; without a colour, `"an eight"`."""
    words = f"{colour} {name}" if colour else name
    return ("an " if words[0] in "aeiou" and not words.startswith("one") else "a ") + words


def _enumeration(phrases, conjunction):
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + f" {conjunction} " + phrases[-1]


def _without_colours(things, vertical, rng):
    keep = rng.random(len(things)) < 0.4
    return canonical_caption(
        [(colour if kept else "", name) for (colour, name), kept in zip(things, keep)], vertical
    )


def _photo_of(things, vertical, rng):
    return _PHOTO_PREFIXES[rng.integers(len(_PHOTO_PREFIXES))] + canonical_caption(things, vertical)


def _odd_case(things, vertical, rng):
    caption = canonical_caption(things, vertical)
    return (caption.upper(), caption.title(), caption.capitalize() + ".")[rng.integers(3)]


def _odd_space(things, vertical, rng):
    words = canonical_caption(things, vertical).split(" ")
    words.insert(int(rng.integers(1, len(words))), "")
    return (" " + "  ".join(words), "\n".join(words) + " ", "&nbsp;".join(words))[rng.integers(3)]


def _joined_by_and(things, vertical, rng):
    del vertical, rng
    return _enumeration([noun_phrase(*thing) for thing in things], "and")


def _joined_by_entity(things, vertical, rng):
    del vertical
    entity = ("&amp;", "&#38;")[rng.integers(2)]
    return _enumeration([noun_phrase(*thing) for thing in things], entity)


def _reversed_order(things, vertical, rng):
    del rng
    first, second = (noun_phrase(*thing) for thing in things)
    return second + (" below " if vertical else " to the right of ") + first
