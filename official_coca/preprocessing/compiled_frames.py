"""Frames of an `ImageConverter` by compiled loops, for input pipelines; not for exports.

Shapes: h x w pixels as stored, H x W pixels of the frame.
"""

import functools

import numpy as np
import tensorflow as tf

from official_coca.preprocessing import pillow_resampling, tensorflow_resampling

# Sizes of pictures whose place in the frame is kept, instead of being worked out again.
_KEPT_SIZES = 65_536


def fast_resize(image_converter, size):
    """Returns the fastest function that does what `image_converter.resize(image, size)` does.

    For pictures (h, w, 3) uint8 in input pipelines of this process: compiled loops are called by a
    `tf.numpy_function`, which can neither be exported nor sent to the tf.data service.
    """
    if CompiledFrames.fits(image_converter):
        return CompiledFrames(image_converter, size)
    return functools.partial(image_converter.resize, size=size)


class CompiledFrames:
    """Resizes as `ImageConverter.resize` does, several times as fast.

    Args:
        image_converter: an `ImageConverter` that `CompiledFrames.fits`.
        size: the pair (H, W).
    """

    def __init__(self, image_converter, size):
        self._converter = image_converter
        self._size = tuple(size)
        self._place = functools.lru_cache(_KEPT_SIZES)(self._place)
        if image_converter.resampler == "pillow":
            self._dtype = np.uint8
            self._resized_frame = functools.partial(
                pillow_resampling.resized_frame, interpolation=image_converter.interpolation
            )
        else:
            self._dtype = np.float32
            self._resized_frame = tensorflow_resampling.resized_frame

    @staticmethod
    def fits(image_converter):
        """Whether frames are Pillow's, of whole levels, or TensorFlow's bilinear ones."""
        if image_converter.resampler == "pillow":
            return all(level == int(level) for level in image_converter.fill_color)
        return image_converter.interpolation == "bilinear" and image_converter.antialias

    def of(self, pixels):
        """(h, w, 3) uint8 → (H, W, 3), whole levels as uint8 or else float32, NumPy arrays."""
        resized_size, offset, frame_size = self._place(*pixels.shape[:2])
        frame = self._resized_frame(pixels, resized_size, offset, frame_size)
        if frame_size == self._size:
            return frame
        fill = np.array(self._converter.fill_color, self._dtype)
        whole = np.empty((*self._size, 3), self._dtype)
        whole[:] = fill
        top, left = ((side - part) // 2 for side, part in zip(self._size, frame_size))
        # The sum and the difference round floats as `framing.pad` does.
        whole[top : top + frame_size[0], left : left + frame_size[1]] = (frame - fill) + fill
        return whole

    def __call__(self, image):
        """(h, w, 3) uint8 → (H, W, 3) float32 in 0..255, in a graph that is not exported."""
        frame = tf.numpy_function(self.of, [image], self._dtype, stateful=False)
        return tf.cast(tf.ensure_shape(frame, (*self._size, 3)), tf.float32)

    def _place(self, height, width):
        """Returns the size of the resized picture, and where the frame lies in it."""
        place = self._converter.place(tf.constant([height, width]), self._size)
        return tuple(tuple(pair.numpy().tolist()) for pair in place)
