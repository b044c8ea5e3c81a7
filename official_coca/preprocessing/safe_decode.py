"""Decodes pictures that strangers send: a bad one costs its own row and nothing else.

Shapes: B files, H x W pixels of the model.
"""

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.animated_png import is_animated_png
from official_coca.preprocessing.gif_frames import only_gif_frame
from official_coca.preprocessing.image import decode_image
from official_coca.preprocessing.image_headers import servable_pixels

# 50 megapixels are what large cameras make. Decoding and resizing takes 4 bytes a pixel for a
# while, 10 of BMP and 22 with resampler="pillow", so one picture of that size needs 0.2 to 1.1 GB.
MAX_PIXELS = 50_000_000
# A batch with a picture above this is decoded one after the other, so that the memory of large
# ones does not add up.
_LARGE = 4_000_000
_PARALLEL_DECODES = 8


class SafeImageDecoder:
    """Encoded pictures to normalised pixels, in a graph, with a mark for those that failed.

    Animations, CMYK, 16 bits a channel and a single pixel fail too: the model would see a first
    frame, converted colours, fewer levels or one colour, and answer as if that were the picture.

    Args:
        image_converter: an `ImageConverter`; good pictures get exactly the pixels it gives them.
        max_pixels: pictures that declare more are refused before they are decoded.

    Example:
        decoder = SafeImageDecoder(preprocessor.image_converter)
        images, valid = decoder(tf.constant([jpeg, b"rubbish"]))   # valid: [True, False]
    """

    def __init__(self, image_converter, max_pixels=MAX_PIXELS):
        if not isinstance(max_pixels, int) or max_pixels < 1:
            raise InvalidInputError(f"max_pixels={max_pixels!r} must be a positive integer")
        self.image_converter = image_converter
        self.max_pixels = max_pixels

    def __call__(self, encoded):
        """Returns normalised pixels (B, H, W, 3) float32, zero where `valid` (B,) is False.

        Args:
            encoded: (B,) strings.
        """
        batch_size = tf.shape(encoded)[0]
        pixels = servable_pixels(encoded)
        pixels = tf.where(is_animated_png(encoded), tf.zeros_like(pixels), pixels)
        is_served = (pixels > 0) & (pixels <= self.max_pixels)
        has_large = tf.reduce_any(is_served & (pixels > _LARGE))
        rows = tf.cast(tf.where(is_served)[:, 0], tf.int32)
        # What cannot be decoded drops out of the data set; the others know their rows. A last
        # row that always succeeds keeps the result from being empty.
        height, width = self.image_converter.image_size
        last = tf.data.Dataset.from_tensors((batch_size, tf.zeros((height, width, 3))))
        decoded = (
            tf.data.Dataset.from_tensor_slices((rows, tf.gather(encoded, rows)))
            .map(
                lambda row, file: (row, self._decode(file)),
                num_parallel_calls=tf.where(has_large, tf.constant(1, tf.int64), _PARALLEL_DECODES),
            )
            .ignore_errors()
            .concatenate(last)
            .batch(tf.cast(batch_size, tf.int64) + 1)
        )
        rows, images = decoded.get_single_element()
        rows = rows[:, tf.newaxis]
        images = tf.scatter_nd(rows, images, (batch_size + 1, height, width, 3))
        hits = tf.scatter_nd(rows, tf.ones_like(rows[:, 0]), (batch_size + 1,))
        return images[:batch_size], hits[:batch_size] > 0

    def _decode(self, encoded):
        return self.image_converter(decode_image(only_gif_frame(encoded, self.max_pixels)))
