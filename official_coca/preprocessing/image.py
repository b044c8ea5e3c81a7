"""From encoded pictures to normalised pixels: the one path of evaluation and serving.

Shapes: B images, h x w pixels as stored, H x W pixels as the model wants them.
"""

import keras
import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import framing, open_clip_image, resampling
from official_coca.preprocessing.decode_image import IMAGE_FORMATS, decode_image

__all__ = ["IMAGE_FORMATS", "ImageConverter", "decode_image", "size_pair"]

_RESIZE_MODES = ("squash", "crop", "pad")
_RESAMPLERS = ("tensorflow", "pillow")
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian")


@keras.saving.register_keras_serializable(package="official_coca")
class ImageConverter:
    """Resizes pictures to the model's size and normalises them.

    Args:
        image_size: the model's (H, W), or one number for both.
        mean: per channel, subtracted from pixels in 0..1.
        std: per channel, divides the result.
        interpolation: a `tf.image.ResizeMethod`.
        antialias: whether shrinking averages over the pixels it drops.
        resize_mode: `"squash"` resizes both sides freely (the paper, ALIGN); `"crop"` keeps the
            aspect ratio, covers (H, W) and cuts its centre out (CLIP, open_clip); `"pad"` keeps
            it, fits into (H, W) and fills the rest (open_clip's "longest").
        resampler: `"tensorflow"` keeps fractions of a level (`tf.image.resize`); `"pillow"` gives
            the 8-bit pixels of Pillow and the rounding of sizes of open_clip, for bilinear and
            bicubic with antialiasing. It rounds float pixels to whole levels first.
        fill_color: what `"pad"` fills with, in 0..255, one number or one per channel.

    Example:
        converter = ImageConverter(image_size=288)
        images = converter.decode([open("cat.jpg", "rb").read()])   # (1, 288, 288, 3)
    """

    def __init__(
        self,
        image_size=288,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bilinear",
        antialias=True,
        resize_mode="squash",
        resampler="tensorflow",
        fill_color=0,
    ):
        self.image_size = size_pair(image_size, "image_size")
        self.mean = _channel_triple(mean, "mean")
        self.std = _channel_triple(std, "std")
        if min(self.std) <= 0:
            raise InvalidInputError(f"std={self.std} has a value that is not positive")
        self.interpolation = _one_of(interpolation, _INTERPOLATIONS, "interpolation")
        self.antialias = bool(antialias)
        self.resize_mode = _one_of(resize_mode, _RESIZE_MODES, "resize_mode")
        self.resampler = _one_of(resampler, _RESAMPLERS, "resampler")
        if self.resampler == "pillow":
            _one_of(self.interpolation, resampling.INTERPOLATIONS, "with Pillow, interpolation")
            if not self.antialias:
                raise InvalidInputError("antialias=False is not possible with resampler='pillow'")
        self.fill_color = _fill_triple(fill_color)

    @classmethod
    def from_preprocess_cfg(cls, preprocess_cfg, image_size=None):
        """Returns the converter that equals open_clip's evaluation transform pixel for pixel.

        Args:
            preprocess_cfg: the entry of that name in an `open_clip_config.json`, a dict.
            image_size: the model's size, which open_clip puts before the `size` of the dict.
        """
        return cls(**open_clip_image.converter_arguments(preprocess_cfg, image_size))

    def __call__(self, images):
        """Returns float32 (B, H, W, 3), or (H, W, 3) for one picture.

        Args:
            images: uint8, or float in 0..255, (B, h, w, 3) or (h, w, 3).
        """
        return self.normalize(self.resize(images, self.image_size))

    def decode(self, encoded):
        """Returns float32 (B, H, W, 3) of B encoded pictures.

        Eagerly, a string that is no picture raises `InvalidInputError` with its index; in a graph
        TensorFlow's `InvalidArgumentError` comes through.
        """
        encoded = tf.convert_to_tensor(encoded, tf.string)
        if encoded.shape.rank != 1:
            raise InvalidInputError(
                f"encoded images have shape {tuple(encoded.shape)}; give a batch of strings (B,)"
            )
        if not tf.executing_eagerly():
            output = tf.TensorSpec((*self.image_size, 3), tf.float32)
            return tf.map_fn(
                lambda one: self(decode_image(one)), encoded, fn_output_signature=output
            )
        images = [self(_decode_or_explain(index, one)) for index, one in enumerate(encoded)]
        return tf.stack(images) if images else tf.zeros((0, *self.image_size, 3))

    def resize(self, images, size):
        """Returns float32 pixels in 0..255 of exactly `size`, by the rule of `resize_mode`."""
        images = _checked_pixels(images)
        if self.resize_mode == "crop" and self.resampler == "tensorflow":
            images = framing.without_far_ends(images, size)
        resized_size, offset, frame_size = self.place(tf.shape(images)[-3:-1], size)
        if self.resampler == "pillow":
            images = _whole_levels(images)
            images = resampling.resize_and_cut(
                images, resized_size, offset, frame_size, self.interpolation
            )
            images = tf.cast(images, tf.float32)
        else:
            images = framing.cut(self._resize(images, resized_size), offset, frame_size)
        if self.resize_mode == "pad":
            images = framing.pad(images, size, self.fill_color)
        return tf.ensure_shape(images, (*images.shape[:-3], *size, 3))

    def place(self, stored_size, size):
        """Returns the size of the resized picture, and offset and size of the frame within it.

        Args:
            stored_size: (2,) int32, h and w.
            size: the pair (H, W); with `"pad"` the frame may be smaller.

        Returns:
            Three (2,) int32.
        """
        resized_size = self._resized_size(stored_size, size)
        frame_size = tf.minimum(resized_size, size)
        return resized_size, framing.centre_offset(resized_size, frame_size), frame_size

    def _resized_size(self, stored_size, size):
        if self.resize_mode == "squash":
            return tf.constant(size)
        covers = self.resize_mode == "crop"
        if covers and (size[0] == size[1] or self.resampler == "tensorflow"):
            return framing.covering_size(stored_size, size)
        return framing.nearest_size(stored_size, size, covers)

    def _resize(self, images, size):
        # As bytes a picture takes a quarter of the memory, and resizing it half the time.
        if images.dtype != tf.uint8:
            images = tf.cast(images, tf.float32)
        # Resizing to the size a picture has changes nothing and costs more than decoding it.
        return tf.cond(
            tf.reduce_all(tf.shape(images)[-3:-1] == size),
            lambda: tf.cast(images, tf.float32),
            lambda: self._resampled(images, size),
        )

    def _resampled(self, images, size):
        images = tf.image.resize(images, size, self.interpolation, antialias=self.antialias)
        images = tf.cast(images, tf.float32)  # "nearest" leaves bytes as they are
        return tf.clip_by_value(images, 0.0, 255.0)  # bicubic and lanczos overshoot

    def normalize(self, images):
        """Returns `(images / 255 - mean) / std` of float32 pixels in 0..255."""
        # One factor and one offset: graph optimisation would round a division differently.
        std = np.array(self.std)
        scale, offset = 1 / (255 * std), -np.array(self.mean) / std
        # TensorFlow is slow to broadcast along an axis of 3, and quick along one of W * 3.
        width, shape = images.shape[-2], tf.shape(images)
        rows = tf.reshape(images, tf.concat([shape[:-2], [width * 3]], axis=0))
        scale, offset = (np.tile(row, width).astype(np.float32) for row in (scale, offset))
        return tf.reshape(rows * scale + offset, shape)

    def get_config(self):
        return {
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "resize_mode": self.resize_mode,
            "resampler": self.resampler,
            "fill_color": list(self.fill_color),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def size_pair(size, name):
    """Returns `size`, one number or (H, W), as a pair of positive integers."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise InvalidInputError(f"{name}={size!r} must be one or two positive integers: (H, W)")
    return pair


def _channel_triple(values, name):
    try:
        triple = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}={values!r} is not made of numbers") from None
    if len(triple) != 3:
        raise InvalidInputError(f"{name}={triple} must have one value for each of R, G and B")
    return triple


def _fill_triple(fill_color):
    is_number = isinstance(fill_color, (int, float))
    triple = _channel_triple((fill_color,) * 3 if is_number else fill_color, "fill_color")
    if not all(0 <= level <= 255 for level in triple):
        raise InvalidInputError(f"fill_color={fill_color!r} is not within 0..255")
    return triple


def _one_of(value, choices, name):
    if value not in choices:
        raise InvalidInputError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")
    return value


def _checked_pixels(images):
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 and not images.dtype.is_floating:
        raise InvalidInputError(
            f"images have dtype {images.dtype.name}; give uint8 pixels, or floats in 0..255"
        )
    if images.shape.rank not in (3, 4) or images.shape[-1] not in (3, None):
        raise InvalidInputError(
            f"images have shape {tuple(images.shape)}; give RGB pixels (B, h, w, 3) or (h, w, 3)"
        )
    return images


def _whole_levels(images):
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 255.0)), tf.uint8)


def _decode_or_explain(index, encoded):
    try:
        return decode_image(encoded)
    except tf.errors.InvalidArgumentError:
        length = len(encoded.numpy())
        raise InvalidInputError(
            f"image {index} ({length} bytes) cannot be decoded: it is cut off, or not one of "
            f"{IMAGE_FORMATS}; give the content of the file, not its path"
        ) from None
