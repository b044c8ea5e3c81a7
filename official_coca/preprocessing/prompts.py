"""Texts before tokenisation: sentences from label names, clean text from web alt-text.

Shapes: B texts; R pictures with T label names each, P templates.
"""

import pathlib

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import html_references

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
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
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
    flat = html_references.unescape(flat)
    flat = tf.strings.regex_replace(flat, _TAG, " ")
    flat = tf.strings.strip(tf.strings.regex_replace(flat, _WHITE_SPACE, " "))
    return tf.ensure_shape(tf.reshape(flat, tf.shape(texts)), texts.shape)
