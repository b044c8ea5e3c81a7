"""A small SavedModel with the signatures of an exported captioner, for tests of the server.

Images are PNG files of 8 bits a channel. Any other row, and any text that is not UTF-8, is not
valid. Bytes that start as PNG and are corrupt later make the whole call fail, as a model would
that does not guard its rows.

    python tests/serving/stand_in_saved_model.py DIRECTORY [--seed=0] [--width=64] [--layers=2]

Shapes: B images, T texts, K labels, P templates, C texts to score, E width of the embeddings.
"""

import argparse
import atexit
import functools
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

SIDE = 16
MOST_PIXELS = 4096 * 4096
CORRUPT_PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x0dIHDR\x00\x00\x00\x08\x00\x00\x00\x08\x08\x02"


def _strings(name):
    return tf.TensorSpec([None], tf.string, name=name)


class StandIn(tf.Module):
    """Embeds pixels and bytes of text through some matrices; captions by looking up its own."""

    def __init__(self, seed=0, width=16, layers=2, caption_steps=4):
        super().__init__()
        rng = np.random.default_rng(seed)
        self._width = width
        self._caption_steps = caption_steps
        self.image_kernel = tf.Variable(rng.normal(size=(SIDE * SIDE * 3, width)).astype("float32"))
        self.text_kernel = tf.Variable(rng.normal(size=(256, width)).astype("float32"))
        self.kernels = [
            tf.Variable(rng.normal(size=(width, width)).astype("float32") / width**0.5)
            for _ in range(layers)
        ]

    def _pixels(self, images):
        """(B,) bytes → (B, SIDE, SIDE, 3) float32 and (B,) whether they are images."""
        valid = _is_plain_png(images)

        def decode(row):
            image, is_valid = row
            return tf.cond(
                is_valid,
                lambda: tf.image.resize(tf.io.decode_png(image, channels=3), (SIDE, SIDE)) / 255.0,
                lambda: tf.zeros((SIDE, SIDE, 3)),
            )

        pixels = tf.map_fn(
            decode, (images, valid), fn_output_signature=tf.TensorSpec((SIDE, SIDE, 3))
        )
        return pixels, valid

    def _embed(self, hidden, valid):
        for kernel in self.kernels:
            hidden = tf.nn.relu(hidden @ kernel) + hidden
        return tf.math.l2_normalize(hidden, axis=-1) * tf.cast(valid, tf.float32)[:, None]

    def _image_embedding(self, images):
        pixels, valid = self._pixels(images)
        flat = tf.reshape(pixels, (-1, SIDE * SIDE * 3))
        return self._embed(flat @ self.image_kernel, valid), valid

    def _text_embedding(self, texts):
        valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", replacement_char=1) == texts
        codes = tf.io.decode_raw(tf.strings.substr(texts, 0, 64), tf.uint8, fixed_length=64)
        counts = tf.reduce_sum(tf.one_hot(tf.cast(codes, tf.int32), 256), axis=1)
        return self._embed(counts @ self.text_kernel, valid), valid

    @tf.function(input_signature=[_strings("image_bytes")])
    def encode_image(self, image_bytes):
        """(B,) → image_embedding (B, E), valid (B,)."""
        embedding, valid = self._image_embedding(image_bytes)
        return {"image_embedding": embedding, "valid": valid}

    @tf.function(input_signature=[_strings("text")])
    def encode_text(self, text):
        """(T,) → text_embedding (T, E), valid (T,)."""
        embedding, valid = self._text_embedding(text)
        return {"text_embedding": embedding, "valid": valid}

    @tf.function(
        input_signature=[_strings("image_bytes"), _strings("labels"), _strings("templates")]
    )
    def classify(self, image_bytes, labels, templates):
        """(B,), (K,), (P,) → probabilities (B, K), valid (B,)."""
        images, valid = self._image_embedding(image_bytes)
        prompts = templates[None, :] + labels[:, None]
        texts, _ = self._text_embedding(tf.reshape(prompts, [-1]))
        texts = tf.reshape(texts, [tf.size(labels), tf.size(templates), self._width])
        logits = images @ tf.transpose(tf.reduce_mean(texts, axis=1))
        return {"probabilities": tf.nn.softmax(logits * 10.0), "valid": valid}

    @tf.function(input_signature=[_strings("image_bytes"), _strings("text")])
    def score(self, image_bytes, text):
        """(B,), (C,) → similarity (B, C), image_valid (B,), text_valid (C,)."""
        images, image_valid = self._image_embedding(image_bytes)
        texts, text_valid = self._text_embedding(text)
        return {
            "similarity": images @ tf.transpose(texts),
            "image_valid": image_valid,
            "text_valid": text_valid,
        }

    @tf.function(input_signature=[_strings("image_bytes"), _strings("prompt")])
    def generate(self, image_bytes, prompt=tf.constant([""])):
        """(B,), (B,) or one for all → caption (B,), score (B,), valid (B,)."""
        hidden, valid = self._image_embedding(image_bytes)
        caption = prompt + tf.zeros_like(image_bytes)
        for _ in range(self._caption_steps):
            hidden = self._embed(hidden, valid)
            letter = tf.as_string(tf.argmax(hidden, axis=-1))
            caption = tf.where(valid, tf.strings.join([caption, letter], " "), "")
        return {"caption": caption, "score": tf.reduce_sum(hidden, axis=-1), "valid": valid}

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="images")])
    def encode_image_tensor(self, images):
        """(B, SIDE, SIDE, 3) → image_embedding (B, E), the one output."""
        flat = tf.reshape(images, (-1, SIDE * SIDE * 3))
        embedding = self._embed(flat @ self.image_kernel, tf.ones(tf.shape(flat)[:1]))
        return {"image_embedding": embedding}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="token_ids")])
    def encode_token_ids(self, token_ids):
        """(B, 4) → text_embedding (B, E)."""
        hidden = tf.reduce_sum(tf.gather(self.text_kernel, token_ids), axis=1)
        return {"text_embedding": self._embed(hidden, tf.ones(tf.shape(hidden)[:1]))}

    @tf.function(input_signature=[_strings("image_bytes")])
    def total(self, image_bytes):
        """(B,) → count (): an output that has no rows, which cannot be merged."""
        return {"count": tf.size(image_bytes)}


def _is_plain_png(images):
    """(B,) bytes → (B,) bool: PNG, 8 bits a channel, not animated, of a sensible size."""
    header = tf.io.decode_raw(tf.strings.substr(images, 0, 29), tf.uint8, fixed_length=32)
    header = tf.cast(header, tf.int64)
    powers = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
    height = tf.reduce_sum(header[:, 20:24] * powers, axis=1)
    width = tf.reduce_sum(header[:, 16:20] * powers, axis=1)
    return tf.logical_and(
        tf.reduce_all(header[:, :8] == list(b"\x89PNG\r\n\x1a\n"), axis=1)
        & (header[:, 24] == 8)
        & (height * width > 1)
        & (height * width <= MOST_PIXELS),
        ~tf.strings.regex_full_match(images, "(?s).*acTL.*"),
    )


def write_stand_in(directory, **options):
    """Writes a SavedModel at `directory`."""
    module = StandIn(**options)
    texts = "encode_image encode_text classify score generate"
    tensors = "encode_image_tensor encode_token_ids total"
    signatures = {name: getattr(module, name) for name in f"{texts} {tensors}".split()}
    signatures["serving_default"] = module.encode_image
    tf.saved_model.save(module, str(directory), signatures=signatures)


@functools.cache
def stand_in_directory():
    """A `pathlib.Path` with version 1 of the stand-in, written once; copy it to change it."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="stand_in_"))
    atexit.register(shutil.rmtree, directory)
    write_stand_in(directory / "1")
    return directory


def png(seed=0, side=24):
    """Bytes of a PNG file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(side, side, 3), dtype=np.uint8)
    return tf.io.encode_png(pixels).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    for name, default in (("seed", 0), ("width", 64), ("layers", 2), ("caption_steps", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = vars(parser.parse_args())
    write_stand_in(flags.pop("directory"), **flags)
