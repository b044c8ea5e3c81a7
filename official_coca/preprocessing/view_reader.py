"""Encoded pictures to normalised views in Python threads of `tf.data`, several times as fast.

Shapes: h x w pixels as stored, H x W pixels of the model.
"""

import numba
import numpy as np
import tensorflow as tf

from official_coca.preprocessing.decode_image import JPEG_SIGNATURE, decode_image, decode_jpeg
from official_coca.preprocessing.pillow_frames import PillowFrames

# Traced once for all readers.
_decode_any = tf.function(
    decode_image, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


class ViewReader:
    """Decodes, resizes and normalises as an `ImageConverter` with `resampler="pillow"` does.

    What can be read, and each pixel, is the same. Between TensorFlow's decoder and its tensor of
    the view there is only code compiled by Numba, which needs no lock of Python.

    Args:
        image_converter: an `ImageConverter` that `PillowFrames.fits`.

    Example:
        reader = ViewReader(image_converter)
        dataset = tf.data.Dataset.from_tensor_slices(files).map(reader, 4).batch(32)
        for views, valid in dataset: ...   # (32, H, W, 3) float32 and (32,) bool
    """

    def __init__(self, image_converter):
        self._shape = (*image_converter.image_size, 3)
        self._scale_and_offset = image_converter.scale_and_offset()
        self._frames = PillowFrames(image_converter, image_converter.image_size)

    def __call__(self, encoded):
        """Returns the view (H, W, 3) float32 of a scalar string, and whether it could be read."""
        view, valid = tf.numpy_function(
            self._read, [encoded], (tf.float32, tf.bool), stateful=False
        )
        return tf.ensure_shape(view, self._shape), tf.ensure_shape(valid, ())

    def _read(self, encoded):
        encoded = np.asarray(encoded, object).item()  # comes as bytes, or as an array of no axes
        # A graph takes longer to call than the one operation that most files need.
        decode = decode_jpeg if encoded.startswith(JPEG_SIGNATURE) else _decode_any
        try:
            pixels = decode(encoded).numpy()
        except tf.errors.OpError:
            return np.zeros(self._shape, np.float32), False
        return _normalized(self._frames.of(pixels), *self._scale_and_offset), True


@numba.njit(nogil=True)
def _normalized(frame, scale, offset):
    """(H, W, 3) uint8 → float32: each channel times a scale plus an offset, (3,) float32."""
    view = np.empty(frame.shape, np.float32)
    for row in range(frame.shape[0]):
        for column in range(frame.shape[1]):
            for channel in range(3):
                level = np.float32(frame[row, column, channel])
                view[row, column, channel] = level * scale[channel] + offset[channel]
    return view
