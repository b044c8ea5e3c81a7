"""HTML character references such as `&eacute;` or `&#233;`, resolved inside the TensorFlow graph.

Shapes: B texts, N references.
"""

import functools
import html.entities

import tensorflow as tf

from official_coca.preprocessing.constant_table import ConstantTable

# The pattern of Python's html.unescape for what follows an ampersand.
_REFERENCE = r"(?s)^(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)?(.*)$"
# What ftfy takes for a reference, which html.unescape then reads to its end.
_STRICT_REFERENCE = r"(?s)^(#[0-9]+;|#[xX][0-9a-fA-F]+;|[0-9A-Za-z]{1,24};)?(.*)$"
_MAXIMUM_DIGITS = 7  # of the largest code point, 1114111
_REPLACEMENT_CHARACTER = 0xFFFD


def unescape(texts):
    """Returns (B,) strings with their character references resolved, as `html.unescape` does.

    Args:
        texts: (B,) strings in UTF-8.
    """
    return _where_ampersand(texts, lambda: _unescape(texts, _REFERENCE, _named_characters))


def unescape_strictly(texts):
    """Returns (B,) strings with those references resolved that `ftfy.fix_text` takes for such.

    They end in a semicolon; in addition to those of HTML, names in capitals (`&EACUTE;`) count.

    Args:
        texts: (B,) strings in UTF-8.
    """
    return _where_ampersand(texts, lambda: _unescape(texts, _STRICT_REFERENCE, _strict_characters))


def _where_ampersand(texts, resolve):
    has_reference = tf.reduce_any(tf.strings.regex_full_match(texts, r"(?s).*&.*"))
    return tf.cond(has_reference, resolve, lambda: texts)


def _unescape(texts, pattern, resolve_names):
    pieces = tf.strings.split(texts, "&")  # of each text, the first has no reference before it
    values = pieces.values
    reference = tf.strings.regex_replace(values, pattern, r"\1")
    rest = tf.strings.regex_replace(values, pattern, r"\2")
    digits = tf.strings.regex_replace(reference, "(?i)^#x?0*|;$", "")
    is_hexadecimal = tf.strings.regex_full_match(reference, "#[xX].*")
    resolved = tf.where(
        tf.strings.regex_full_match(reference, "#.*"),
        _numeric_characters(digits, is_hexadecimal),
        resolve_names(reference),
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
    table = _named_references()
    found, whole = table(references)
    begins_with_name = _old_name_pattern()
    begin_found, begin = table(tf.strings.regex_replace(references, begins_with_name, r"\1"))
    end = tf.strings.regex_replace(references, begins_with_name, r"\2")
    unknown = tf.strings.join(["&", references])
    return tf.where(found, whole, tf.where(begin_found, tf.strings.join([begin, end]), unknown))


def _strict_characters(references):
    found, characters = _strict_references()(references)
    return tf.where(found, characters, tf.strings.join(["&", references]))


@functools.cache
def _named_references():
    return ConstantTable(list(html.entities.html5), list(html.entities.html5.values()))


@functools.cache
def _strict_references():
    from ftfy import chardata  # only CLIP's cleaning needs it

    names = [name.removeprefix("&") for name in chardata.HTML_ENTITIES]
    return ConstantTable(names, list(chardata.HTML_ENTITIES.values()))


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
