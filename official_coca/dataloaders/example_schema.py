"""The TFRecord schema of the project: one image, its text or texts, the name of its source.

`image/encoded`  bytes, an encoded picture (PNG, JPEG, GIF, BMP or WebP)
`text`           bytes, one or several: label names of a label source, captions otherwise
`source`         bytes, the name of the source the example belongs to

R examples, T texts of an example.
"""

import re

import tensorflow as tf

IMAGE_KEY = "image/encoded"
TEXT_KEY = "text"
SOURCE_KEY = "source"

_FEATURES = {
    IMAGE_KEY: tf.io.FixedLenFeature([], tf.string, default_value=""),
    TEXT_KEY: tf.io.RaggedFeature(tf.string),
    SOURCE_KEY: tf.io.FixedLenFeature([], tf.string, default_value=""),
}
_SHARD_NAME = "{name}-{split}-{index:05d}-of-{shards:05d}.tfrecord"


def shard_name(name, split, index, shards):
    """Returns the file name of one shard, such as `scenes-train-00000-of-00004.tfrecord`."""
    return _SHARD_NAME.format(name=name, split=split, index=index, shards=shards)


def shard_name_pattern(name, split):
    """Returns a compiled pattern that matches the file names of all shards of `name`-`split`."""
    return re.compile(rf"{re.escape(name)}-{re.escape(split)}-\d{{5}}-of-\d{{5}}\.tfrecord")


def make_example(encoded_image, texts, source):
    """Packs one example for writing.

    Args:
        encoded_image: bytes of an encoded picture.
        texts: a string, or a sequence of strings.
        source: name of the source, a string.

    Returns:
        A `tf.train.Example`.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                IMAGE_KEY: _bytes_feature([encoded_image]),
                TEXT_KEY: _bytes_feature([text.encode("utf-8") for text in texts]),
                SOURCE_KEY: _bytes_feature([source.encode("utf-8")]),
            }
        )
    )


def parse_example(serialized):
    """Unpacks one serialized example; an absent text is an empty list of texts.

    Args:
        serialized: scalar string tensor.

    Returns:
        `{"image": scalar string, "texts": (T,) string, "source": scalar string}`.
    """
    return _named(tf.io.parse_single_example(serialized, _FEATURES))


def parse_examples(serialized):
    """Unpacks R serialized examples at once, which is several times faster than one by one.

    Args:
        serialized: (R,) string tensor.

    Returns:
        `{"image": (R,) string, "texts": (R,(T)) ragged string, "source": (R,) string}`.
    """
    return _named(tf.io.parse_example(serialized, _FEATURES))


def _named(parsed):
    return {"image": parsed[IMAGE_KEY], "texts": parsed[TEXT_KEY], "source": parsed[SOURCE_KEY]}


def _bytes_feature(values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
