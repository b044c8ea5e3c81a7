"""The text that CLIP's tokenizer sees: open_clip's `_clean_lower`, in Python and in the graph.

`clean_text` is the original's procedure: `ftfy.fix_text`, `html.unescape` twice, every run of white
space one space, lower case. `clean_texts` does in core TensorFlow operations what can be done
with tables of single characters. What it does not do of ftfy's work:

- repair text that was read in a wrong encoding ("mojibake": `cafÃ©` stays),
- compose a letter with accents that stand in another order than NFC's,
- treat the lines of a text apart: `<` in any line keeps ftfy from resolving references in all,
  so that a curly quote, ligature or wide character written as a reference stays what it is.

Shapes: B texts, N characters of all of them.
"""

import functools
import html
import unicodedata

import ftfy
import numpy as np
import tensorflow as tf
from ftfy import chardata, fixes

from official_coca.preprocessing import html_references
from official_coca.preprocessing.constant_table import ConstantTable

# Texts of these characters alone only need their capitals lowered.
_PLAIN = r"[\t\n\f\r -%'-~]*"
_TERMINAL_ESCAPE = r"\x1b\[[0-9;]*[a-zA-Z]"
_CURLY_QUOTES = (0x02BC, *range(0x2018, 0x2020))
_WIDE_CONTROLS = range(0x80, 0xA0)
_LAST_CHANGING = 0x30000  # beyond, Unicode has neither case nor white space nor equivalents
_CAPITAL_SIGMA = "\u03a3"  # its lower case depends on what follows
# The pattern of the original matches case-insensitively, and this mark, whose capital is a letter,
# is then neither a letter nor something else: it separates words and is lost.
_IOTA_SUBSCRIPT = "\u0345"


def clean_text(text):
    """Returns a text as CLIP's tokenizer cleans it.

    Args:
        text: str, or bytes in UTF-8, where what is not UTF-8 becomes U+FFFD.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower().replace(_IOTA_SUBSCRIPT, " ")


def clean_python_texts(texts):
    """Returns the texts cleaned by `clean_text` if they are Python or NumPy strings, else None.

    Args:
        texts: a string, or a list, tuple or array of strings, as deep as one likes.
    """
    if isinstance(texts, (str, bytes)):
        return clean_text(texts)
    if isinstance(texts, np.ndarray):
        texts = texts.tolist()
        return clean_python_texts(texts)
    if not isinstance(texts, (list, tuple)):
        return None
    cleaned = [clean_python_texts(text) for text in texts]
    return None if None in cleaned else cleaned


def clean_texts(texts):
    """Returns texts (B,) as CLIP's tokenizer cleans them, as far as a graph can.

    Args:
        texts: (B,) strings; what is not UTF-8 becomes U+FFFD.
    """
    lowered = tf.strings.lower(texts)
    others = tf.where(~tf.strings.regex_full_match(texts, _PLAIN))
    return tf.cond(
        tf.size(others) > 0,
        lambda: tf.tensor_scatter_nd_update(
            lowered, others, _clean_others(tf.gather_nd(texts, others))
        ),
        lambda: lowered,
    )


def _clean_others(texts):
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
    resolves_references = ~tf.strings.regex_full_match(texts, r"(?s).*<.*")

    def fix_once(texts, _):
        resolved = html_references.unescape_strictly(texts)
        fixed = tf.where(resolves_references, resolved, texts)
        fixed = tf.strings.regex_replace(fixed, _TERMINAL_ESCAPE, "")
        fixed = _composed(_replace_characters(fixed, _character_fixes()))
        return fixed, tf.reduce_any(fixed != texts)

    shapes = [tf.TensorShape([None]), tf.TensorShape([])]
    texts, _ = tf.while_loop(
        lambda _, changed: changed, fix_once, [texts, tf.constant(True)], shapes
    )
    texts, _ = tf.while_loop(  # a loop, as a second copy of its operations takes time to start
        lambda _, times: times < 2,
        lambda texts, times: (html_references.unescape(texts), times + 1),
        [texts, tf.constant(0)],
        shapes,
    )
    has_sigma = tf.reduce_any(tf.strings.regex_full_match(texts, f"(?s).*{_CAPITAL_SIGMA}.*"))
    texts = tf.cond(has_sigma, lambda: tf.strings.lower(texts, encoding="utf-8"), lambda: texts)
    return _replace_characters(texts, _lower_case())


def _replace_characters(texts, table):
    """Returns (B,) strings with the characters of the table replaced by their strings."""
    characters = tf.strings.unicode_split(texts, "UTF-8")
    code_points = tf.strings.unicode_decode(texts, "UTF-8")
    found, replacements = table(code_points.values)
    replaced = tf.where(found, replacements, characters.values)
    return tf.strings.reduce_join(characters.with_values(replaced), axis=-1)


def _composed(texts):
    """Returns (B,) strings with pairs of characters that NFC makes one of as that one.

    A letter with two accents needs two calls.
    """
    characters = tf.strings.unicode_decode(texts, "UTF-8")
    points, rows = characters.values, characters.value_rowids()
    following = tf.concat([points, [0]], axis=0)[1:]
    found, composed = _compositions()(_pair(points, following))
    is_syllable, syllable = _korean_syllable(points, following)
    composed = tf.where(is_syllable, syllable, composed)
    is_inside = rows == tf.concat([rows, [-1]], axis=0)[1:]  # the next is of the same text
    found = (found | is_syllable) & is_inside
    # What ends a pair begins none, so that pairs do not overlap.
    is_second = tf.concat([[False], found], axis=0)[:-1]
    characters = characters.with_values(tf.where(found, composed, points))
    return tf.strings.unicode_encode(
        tf.ragged.boolean_mask(characters, characters.with_values(~is_second)), "UTF-8"
    )


def _pair(first, second):
    return tf.cast(first, tf.int64) * _LAST_CHANGING + tf.cast(second, tf.int64)


def _korean_syllable(first, second):
    """Whether letters, or an open syllable and a letter, make a syllable, and which.

    Arithmetic and numbers of the Unicode Standard, 3.12 (conjoining jamo behavior).
    """
    initial, medial, final = first - 0x1100, second - 0x1161, second - 0x11A7
    place = first - 0xAC00  # 28 for each pair of an initial and a medial
    is_open = (initial >= 0) & (initial < 19) & (medial >= 0) & (medial < 21)
    is_closed = (place >= 0) & (place < 11_172) & (place % 28 == 0) & (final > 0) & (final < 28)
    syllable = tf.where(is_open, 0xAC00 + (initial * 21 + medial) * 28, first + final)
    return is_open | is_closed, syllable


@functools.cache
def _compositions():
    """Returns the table of the pairs, but for Korean, that NFC makes one of."""
    composed = {}
    for point in range(_LAST_CHANGING):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(point):
                composed[first, second] = point
    pairs = [first * _LAST_CHANGING + second for first, second in composed]
    return ConstantTable(pairs, list(composed.values()))


@functools.cache
def _character_fixes():
    """Returns the table of what `ftfy.fix_text` makes of single characters."""
    candidates = {*chardata.LIGATURES, *chardata.WIDTH_MAP, *chardata.CONTROL_CHARS}
    candidates.update(_CURLY_QUOTES, _WIDE_CONTROLS)
    candidates.update(_changed_by(functools.partial(unicodedata.normalize, "NFC")))
    fixed = {code_point: _fix_character(chr(code_point)) for code_point in candidates}
    return ConstantTable(list(fixed), list(fixed.values()))


def _fix_character(text):
    for fix in (
        fixes.fix_c1_controls,
        fixes.fix_latin_ligatures,
        fixes.fix_character_width,
        fixes.uncurl_quotes,
        fixes.fix_line_breaks,
        fixes.remove_control_chars,
    ):
        text = fix(text)
    return unicodedata.normalize("NFC", text)


@functools.cache
def _lower_case():
    """Returns the table of characters with a lower case, of white space and of lost characters."""
    lowered = {point: chr(point).lower() for point in _changed_by(str.lower)}
    spaces = dict.fromkeys(_changed_by(lambda text: text.strip() or " "), " ")
    table = {**lowered, **spaces, ord(_IOTA_SUBSCRIPT): " "}
    return ConstantTable(list(table), list(table.values()))


def _changed_by(function):
    """Returns the code points whose character the function changes."""
    points = (*range(0xD800), *range(0xE000, _LAST_CHANGING))
    return [point for point in points if function(chr(point)) != chr(point)]
