"""Encoded pictures to frames by Pillow, in Python threads of `tf.data`: JPEG files at full speed.

Shapes: h x w pixels as stored, H x W pixels of the model.
"""

import functools
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coca.preprocessing.decode_image import decode_image
from official_coca.preprocessing.pillow_resampling import resized_frame

_JPEG_MODES = ("RGB", "L")  # of the others, CMYK, the decoders differ
# Sizes of pictures whose place in the frame is kept, instead of being worked out again.
_KEPT_SIZES = 65_536


class PillowReader:
    """Decodes and resizes as an `ImageConverter` with `resampler="pillow"` does, without exports.

    All that is not an ordinary JPEG file goes through the graph of the converter, so what can be
    read, and each pixel, is the same.

    Args:
        image_converter: an `ImageConverter` that `PillowReader.fits`.

    Example:
        reader = PillowReader(image_converter)
        frames, valid = tf.data.Dataset.from_tensor_slices(files).map(reader).batch(32)
    """

    def __init__(self, image_converter):
        self._converter = image_converter
        self._shape = (*image_converter.image_size, 3)
        self._place = functools.lru_cache(_KEPT_SIZES)(self._place)
        self._read_by_graph = tf.function(
            lambda encoded: self._converter.resize(decode_image(encoded), self._shape[:2]),
            input_signature=[tf.TensorSpec([], tf.string)],
            autograph=False,
        )

    @staticmethod
    def fits(image_converter):
        """Whether a converter's frames are Pillow's, of whole levels."""
        return image_converter.resampler == "pillow" and all(
            level == int(level) for level in image_converter.fill_color
        )

    def __call__(self, encoded):
        """Returns the frame (H, W, 3) uint8 of a scalar string, and whether it could be read."""
        frame, valid = tf.numpy_function(
            self._read, [encoded], (tf.uint8, tf.bool), stateful=False
        )
        return tf.ensure_shape(frame, self._shape), tf.ensure_shape(valid, ())

    def _read(self, encoded):
        encoded = np.asarray(encoded, object).item()  # comes as bytes, or as an array of no axes
        try:
            return self._read_jpeg(encoded), True
        except Exception:  # noqa: BLE001  Pillow raises whatever it runs into; the graph decides.
            pass
        try:
            return self._read_by_graph(encoded).numpy().astype(np.uint8), True
        except tf.errors.OpError:
            return np.zeros(self._shape, np.uint8), False

    def _read_jpeg(self, encoded):
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as picture:
            if picture.mode not in _JPEG_MODES:
                raise ValueError(f"{picture.mode} is left to the graph")
            resized_size, offset, frame_size = self._place(picture.height, picture.width)
            picture.load()
            if picture.mode != "RGB":
                picture = picture.convert("RGB")
        frame = resized_frame(
            picture, resized_size, offset, frame_size, self._converter.interpolation
        )
        if frame.shape == self._shape:
            return frame
        whole = np.full(self._shape, self._converter.fill_color, np.uint8)
        top, left = ((side - part) // 2 for side, part in zip(self._shape, frame_size))
        whole[top : top + frame_size[0], left : left + frame_size[1]] = frame
        return whole

    def _place(self, height, width):
        """Returns the size of the resized picture, and where the frame lies in it."""
        place = self._converter.place(tf.constant([height, width]), self._shape[:2])
        return tuple(tuple(pair.numpy().tolist()) for pair in place)
