"""Zero-shot class embeddings in a graph; the protocol of `evaluation/zero_shot.py`.

Shapes: K labels, M templates, E embedding width.
"""

import tensorflow as tf

from official_coca.preprocessing.safe_texts import safe_texts


def label_prompts(labels, templates, max_length):
    """Returns every label in every template, (K, M) strings, "" where one of them is bad.

    Args:
        labels: (K,) strings.
        templates: (M,) strings with one "{}" each; none stand for "{}" itself.
        max_length: tokens there is room for.

    Raises:
        tf.errors.InvalidArgumentError: a template without exactly one "{}".
    """
    num_missing = tf.cast(tf.size(templates) == 0, tf.int32)
    templates = tf.concat([templates, tf.fill([num_missing], "{}")], axis=0)
    labels, _ = safe_texts(tf.strings.strip(labels), max_length)
    templates, is_utf8 = safe_texts(templates, max_length)
    pieces = tf.strings.split(templates, "{}").row_lengths()
    has_place = tf.reduce_all((pieces == 2) | ~is_utf8)
    message = "each of the templates needs exactly one {} for the label"
    with tf.control_dependencies([tf.debugging.Assert(has_place, [message, templates])]):
        before = tf.strings.regex_replace(templates, r"(?s)\{\}.*", "")
    after = tf.strings.regex_replace(templates, r"(?s).*\{\}", "")
    prompts = before + labels[:, tf.newaxis] + after
    return tf.where((labels != "")[:, tf.newaxis] & is_utf8, prompts, "")


def class_embeddings(text_embeddings):
    """Returns the normalised means over the templates, (K, E); zero for a class without any.

    Args:
        text_embeddings: (K, M, E), zero for bad prompts.
    """
    return tf.math.l2_normalize(tf.reduce_sum(text_embeddings, axis=1), axis=-1, epsilon=1e-24)
