"""Texts before tokenisation: sentences from label names, clean text from web alt-text.

Shapes: B texts; R pictures with T label names each, P templates.
"""

import functools
import html.entities
import pathlib

import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError

# The 80 templates that CLIP uses for ImageNet; the file names their origin and licence.
CLIP_TEMPLATES = pathlib.Path(__file__).parent / "templates" / "clip_imagenet_80.txt"

_PLACEHOLDER = "{}"

# Names of HTML elements that turn up in alt-text. Any other word in angle brackets stays: captions
# use <PERSON> and the like.
_TAG_NAMES = (
    "a|abbr|b|big|blockquote|br|center|cite|code|dd|div|dl|dt|em|figcaption|figure|font|h[1-6]|hr|"
    "i|img|ins|label|li|mark|nobr|ol|p|pre|q|s|small|span|strike|strong|sub|sup|table|tbody|td|th|"
    "thead|tr|tt|u|ul|wbr"
)
_TAG = (
    rf"(?is)<!--.*?-->|</?(?:{_TAG_NAMES})"
    r"""(?:\s+[a-z][\w:-]*\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>"']+))*\s*/?>"""
)
# What Python's str.split() takes for white space, control characters, U+200B and U+FEFF.
_WHITE_SPACE = (
    r"[\x00-\x20\x7f-\x{a0}\x{1680}\x{2000}-\x{200b}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
    r"\x{feff}]+"
)

# The pattern of Python's html.unescape for what follows an ampersand.
_REFERENCE = r"(?s)^(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)?(.*)$"
_HASH_BUCKETS = 2**63 - 1
_MAXIMUM_DIGITS = 7  # of the largest code point, 1114111
_REPLACEMENT_CHARACTER = 0xFFFD


def label_sentences(label_names, templates, seed):
    """Puts the label names of each row, shuffled and joined by commas, into a drawn template.

    The procedure is the paper's (section 4.1), such as "a photo of the cat, animal".

    Args:
        label_names: (R,(T)) ragged strings, no row empty.
        templates: P strings with one `{}` each.
        seed: (2,) integer.

    Returns:
        (R,) strings.
    """
    order_seed, template_seed = tf.unstack(tf.random.split(seed, 2))
    rows = tf.cast(label_names.value_rowids(), tf.float64)
    keys = rows + tf.random.stateless_uniform(tf.shape(rows), order_seed, dtype=tf.float64)
    shuffled = label_names.with_values(tf.gather(label_names.values, tf.argsort(keys)))
    joined = tf.strings.reduce_join(shuffled, axis=-1, separator=", ")
    before, after = zip(*(template.split("{}") for template in templates))
    choice = tf.random.stateless_uniform(
        tf.shape(joined), template_seed, maxval=len(templates), dtype=tf.int32
    )
    return tf.strings.join(
        [tf.gather(tf.constant(before), choice), joined, tf.gather(tf.constant(after), choice)]
    )


def load_templates(path):
    """Returns the templates of a text file, one a line, without empty lines and `#` comments."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInputError(
            f"prompt templates {str(path)!r} cannot be read ({reason}); give a text file with one "
            'template a line, such as "a photo of the {}"'
        ) from None
    templates = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if line.count(_PLACEHOLDER) != 1:
            raise InvalidInputError(
                f'prompt templates {str(path)!r}, line {number}: {line!r} needs exactly one "{{}}" '
                "where the label name goes"
            )
        templates.append(line)
    if not templates:
        raise InvalidInputError(
            f"prompt templates {str(path)!r} has no template; write one a line, such as "
            '"a photo of the {}"'
        )
    return tuple(templates)


def clean_alt_text(texts):
    """Returns the texts as a reader of the web page sees them; "" if nothing is left.

    Character references are resolved as `html.unescape` does, HTML tags and comments become a
    space, and every run of white space and control characters becomes one space. Only core
    TensorFlow operations and constants are used, so it needs no tracking in `tf.data` or a
    SavedModel.

    Args:
        texts: strings, scalar or of any dense shape; bytes that are not UTF-8 become U+FFFD.
    """
    texts = tf.convert_to_tensor(texts, tf.string)
    flat = tf.strings.unicode_transcode(tf.reshape(texts, [-1]), "UTF-8", "UTF-8")
    has_reference = tf.reduce_any(tf.strings.regex_full_match(flat, r"(?s).*&.*"))
    flat = tf.cond(has_reference, lambda: _unescape(flat), lambda: flat)
    flat = tf.strings.regex_replace(flat, _TAG, " ")
    flat = tf.strings.strip(tf.strings.regex_replace(flat, _WHITE_SPACE, " "))
    return tf.ensure_shape(tf.reshape(flat, tf.shape(texts)), texts.shape)


def _unescape(texts):
    """Returns (B,) strings with their character references resolved, as `html.unescape` does."""
    pieces = tf.strings.split(texts, "&")  # of each text, the first has no reference before it
    values = pieces.values
    reference = tf.strings.regex_replace(values, _REFERENCE, r"\1")
    rest = tf.strings.regex_replace(values, _REFERENCE, r"\2")
    digits = tf.strings.regex_replace(reference, "(?i)^#x?0*|;$", "")
    is_hexadecimal = tf.strings.regex_full_match(reference, "#[xX].*")
    resolved = tf.where(
        tf.strings.regex_full_match(reference, "#.*"),
        _numeric_characters(digits, is_hexadecimal),
        _named_characters(reference),
    )
    resolved = tf.strings.join([resolved, rest])
    is_first = tf.ragged.range(pieces.row_lengths()).values == 0
    resolved = tf.where(is_first, values, resolved)
    return tf.strings.reduce_join(pieces.with_values(resolved), axis=-1)


def _numeric_characters(digits, is_hexadecimal):
    """Returns the characters (N,) of the digits (N,), read to base 16 where told, else to 10.

    Texts that are no digits give nonsense, which the caller does not use.
    """
    zeros = tf.fill(tf.shape(digits), "0" * _MAXIMUM_DIGITS)
    last = tf.strings.substr(tf.strings.join([zeros, digits]), -_MAXIMUM_DIGITS, _MAXIMUM_DIGITS)
    codes = tf.cast(tf.io.decode_raw(last, tf.uint8, fixed_length=_MAXIMUM_DIGITS), tf.int32)
    digit_values = tf.where(codes >= ord("A"), codes % 32 + 9, codes - ord("0"))
    powers = tf.where(is_hexadecimal, 16, 10)[:, tf.newaxis] ** tf.range(_MAXIMUM_DIGITS)[::-1]
    numbers = tf.reduce_sum(digit_values * powers, axis=-1)
    valid = (tf.strings.length(digits) <= _MAXIMUM_DIGITS) & (numbers > 0) & (numbers <= 0x10FFFF)
    valid &= (numbers < 0xD800) | (numbers > 0xDFFF)
    numbers = tf.where(valid, numbers, _REPLACEMENT_CHARACTER)
    windows = tf.gather(_windows_1252(), tf.clip_by_value(numbers - 0x80, 0, 0x1F))
    numbers = tf.where((numbers >= 0x80) & (numbers < 0xA0), windows, numbers)
    is_space = (numbers == 9) | (numbers == 10) | (numbers == 12) | (numbers == 13)
    dropped = (numbers < 0x20) & ~is_space | (numbers == 0x7F)
    dropped |= (numbers >= 0xFDD0) & (numbers <= 0xFDEF)
    dropped |= tf.bitwise.bitwise_and(numbers, 0xFFFE) == 0xFFFE
    return tf.where(dropped, "", tf.strings.unicode_encode(numbers[:, tf.newaxis], "UTF-8"))


def _named_characters(references):
    """Returns the characters (N,) of named references (N,); unknown ones get their "&" back."""
    hashes, names, characters = _named_references()

    def look_up(name):
        wanted = tf.strings.to_hash_bucket_fast(name, _HASH_BUCKETS)
        index = tf.minimum(tf.searchsorted(hashes, wanted), len(names) - 1)
        return tf.gather(names, index) == name, tf.gather(characters, index)

    found, whole = look_up(references)
    begins_with_name = _old_name_pattern()
    begin_found, begin = look_up(tf.strings.regex_replace(references, begins_with_name, r"\1"))
    end = tf.strings.regex_replace(references, begins_with_name, r"\2")
    unknown = tf.strings.join(["&", references])
    return tf.where(found, whole, tf.where(begin_found, tf.strings.join([begin, end]), unknown))


@functools.cache
def _named_references():
    """Returns the hashes, names and characters of all named references, in order of the hashes.

    A search in sorted constants does the work of a lookup table without a resource to keep alive.
    """
    names = np.array([name.encode() for name in html.entities.html5], object)
    characters = np.array([value.encode() for value in html.entities.html5.values()], object)
    with tf.init_scope():
        hashes = tf.strings.to_hash_bucket_fast(names, _HASH_BUCKETS).numpy()
    order = np.argsort(hashes)
    return hashes[order], names[order], characters[order]


@functools.cache
def _old_name_pattern():
    """Returns the pattern of a text that begins with a name valid without a semicolon."""
    names = [name for name in html.entities.html5 if not name.endswith(";")]
    return f"(?s)^({'|'.join(sorted(names, key=len, reverse=True))})?(.*)$"


@functools.cache
def _windows_1252():
    """Returns the code points that browsers take for the control codes 128 to 159."""
    characters = bytes(range(0x80, 0xA0)).decode("cp1252", errors="replace")
    points = [ord(character) for character in characters]
    return [0x80 + i if point == 0xFFFD else point for i, point in enumerate(points)]
