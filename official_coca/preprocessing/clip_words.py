"""The words that CLIP's byte-pair encoding works on.

The original splits with the `regex` module and the pattern

    <start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+

TensorFlow's RE2 reads it alike but for the characters that Unicode gained since RE2's tables were
made. Those are listed here, so that texts in new scripts split like the original's too.

Shapes: B texts, W words of a text.
"""

import tensorflow as tf

START_OF_TEXT = "<start_of_text>"
END_OF_TEXT = "<end_of_text>"

# Letters and numbers that regex 2026.11.19 knows and the RE2 of TensorFlow 2.20 does not: code
# points and ranges of them, hexadecimal. An RE2 that knows them does no harm.
_NEW_LETTERS = (
    "558 58b-58c 88f c5c cdc 1c89-1c8a 208f 209d-209f a7cb-a7cf a7d2 a7d4 a7da-a7dd a7e2 a7f1 "
    "ab6c-ab6d 105c0-105f3 107bb-107bf 10940-10959 10d4a-10d65 10d6f-10d85 10ec2-10ec7 10ed9-10eee "
    "11380-11389 1138b 1138e 11390-113b5 113b7 113d1 113d3 11b0a 11bc0-11be0 11db0-11ddb 11df1 "
    "13460-143fa 16100-1611d 16d40-16d6c 16ea0-16eb8 16ebb-16ed3 16ff2-16ff3 187f8-187ff "
    "18cd6-18cda 18cff 18d09-18d20 18d80-18df2 18e00-19191 191a0-191d2 1b123-1b128 1b168 1d6a6 "
    "1df1f-1df24 1df2b-1df81 1df90-1df96 1dfcd-1dfff 1e5d0-1e5ed 1e5f0 1e6c0-1e6de 1e6e0-1e6e2 "
    "1e6e4-1e6e5 1e6e7-1e6ed 1e6f0-1e6f4 1e6fe-1e6ff 2b73a-2b73f 2b81e 2cea2-2cead 2ebf0-2ee5d "
    "323b0-33479 3d000-3fc3f"
)
_NEW_NUMBERS = (
    "10d40-10d49 116d0-116e3 11bf0-11bf9 11de0-11de9 1246f 12475-1247f 12550-12686 16130-16139 "
    "16d70-16d79 16ff4-16ff6 1ccf0-1ccf9 1e5f1-1e5fa"
)


def _characters(ranges):
    """Returns the inside of an RE2 class."""
    points = (part.split("-") for part in ranges.split())
    return "".join("-".join(rf"\x{{{point}}}" for point in part) for part in points)


_LETTERS = r"\p{L}" + _characters(_NEW_LETTERS)
_NUMBERS = r"\p{N}" + _characters(_NEW_NUMBERS)
_WORD = (
    rf"(?i:{START_OF_TEXT}|{END_OF_TEXT}|'s|'t|'re|'ve|'m|'ll|'d)"
    rf"|[{_LETTERS}]+|[{_NUMBERS}]|[^\s{_LETTERS}{_NUMBERS}]+"
)


def split_words(texts):
    """Returns the words of clean texts (B,), ragged (B, (W)).

    Args:
        texts: (B,) strings in UTF-8, in lower case, the only white space in them is ASCII's.
    """
    return tf.strings.split(tf.strings.regex_replace(texts, _WORD, r"\0 "))
