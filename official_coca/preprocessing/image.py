"""From encoded pictures to normalised pixels: the one path of evaluation and serving.

Shapes: B images, h x w pixels as stored, H x W pixels as the model wants them.
"""

import keras
import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError

IMAGE_FORMATS = "JPEG, PNG, GIF, BMP, WebP"

_RESIZE_MODES = ("squash", "crop")
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian")
_HEADER_SIZE = 32


def decode_image(encoded):
    """Returns the picture of a scalar string as RGB, (h, w, 3) uint8.

    Reads JPEG, PNG, GIF (first frame), BMP and WebP with any number of channels; alpha is dropped,
    and an orientation noted in EXIF is not applied. Anything else raises a `tf.errors`
    `InvalidArgumentError`. Pixels equal Pillow's, which open weights were trained on.
    TensorFlow's own `decode_image` needs help for that with JPEG, where it uses a coarse inverse
    DCT, with BMP, where it takes palette indices for grey, and with WebP, where it refuses alpha.
    """
    encoded = tf.convert_to_tensor(encoded, tf.string)
    header = tf.io.decode_raw(
        tf.strings.substr(encoded, 0, _HEADER_SIZE), tf.uint8, fixed_length=_HEADER_SIZE
    )
    is_jpeg = _has_bytes(header, 0, b"\xff\xd8\xff")
    is_bitmap = _has_bytes(header, 0, b"BM")
    is_webp = _has_bytes(header, 0, b"RIFF") & _has_bytes(header, 8, b"WEBP")
    # Animated WebP goes the default way, which refuses it: decode_webp corrupts the heap there
    # (TensorFlow 2.20).
    is_animated = _has_bytes(header, 12, b"VP8X") & (tf.bitwise.bitwise_and(header[20], 2) > 0)
    image = tf.case(
        [
            (is_jpeg, lambda: _decode_jpeg(encoded)),
            (is_bitmap, lambda: _decode_bitmap(encoded, header)),
            (is_webp & ~is_animated, lambda: _decode_webp(encoded)),
        ],
        default=lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _has_bytes(header, start, expected):
    return tf.reduce_all(header[start : start + len(expected)] == list(expected))


def _decode_jpeg(encoded):
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_bitmap(encoded, header):
    image = tf.io.decode_bmp(encoded, channels=0)

    def little_endian(start):
        digits = tf.cast(header[start : start + 4], tf.int32)
        return tf.reduce_sum(digits * [1, 256, 65536, 16777216])

    def apply_palette():
        palette_start = 14 + little_endian(14)
        palette = tf.strings.substr(encoded, palette_start, little_endian(10) - palette_start)
        colours = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
        return tf.gather(colours, tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.shape(image)[-1] == 1, apply_palette, lambda: image[..., :3])


def _decode_webp(encoded):
    return tf.io.decode_webp(encoded, channels=0)[0, :, :, :3]


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
            aspect ratio, covers (H, W) and cuts its centre out (CLIP, open_clip).

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
    ):
        self.image_size = size_pair(image_size, "image_size")
        self.mean = _channel_triple(mean, "mean")
        self.std = _channel_triple(std, "std")
        if min(self.std) <= 0:
            raise InvalidInputError(f"std={self.std} has a value that is not positive")
        self.interpolation = _one_of(interpolation, _INTERPOLATIONS, "interpolation")
        self.antialias = bool(antialias)
        self.resize_mode = _one_of(resize_mode, _RESIZE_MODES, "resize_mode")

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
        if self.resize_mode == "crop":
            shape = tf.shape(images)[-3:-1]
            covering = _covering_size(shape[0], shape[1], size)
            images = self._resize(images, covering)
            top, left = tf.unstack(tf.cast(tf.round((covering - size) / 2), tf.int32))
            images = images[..., top : top + size[0], left : left + size[1], :]
        else:
            images = self._resize(images, size)
        return tf.ensure_shape(images, (*images.shape[:-3], *size, 3))

    def _resize(self, images, size):
        images = tf.cast(images, tf.float32)
        # Resizing to the size a picture has changes nothing and costs more than decoding it.
        return tf.cond(
            tf.reduce_all(tf.shape(images)[-3:-1] == size),
            lambda: images,
            lambda: self._resampled(images, size),
        )

    def _resampled(self, images, size):
        images = tf.image.resize(images, size, self.interpolation, antialias=self.antialias)
        return tf.clip_by_value(images, 0.0, 255.0)  # bicubic and lanczos overshoot

    def normalize(self, images):
        """Returns `(images / 255 - mean) / std` of float32 pixels in 0..255."""
        # One factor and one offset: graph optimisation would round a division differently.
        std = np.array(self.std)
        scale, offset = 1 / (255 * std), -np.array(self.mean) / std
        return images * scale.astype(np.float32) + offset.astype(np.float32)

    def get_config(self):
        return {
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "resize_mode": self.resize_mode,
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
    triple = tuple(float(value) for value in values)
    if len(triple) != 3:
        raise InvalidInputError(f"{name}={triple} must have one value for each of R, G and B")
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


def _covering_size(height, width, size):
    """Returns the (2,) int32 size of the same aspect ratio that just covers `size`."""
    height_binds = height * size[1] <= width * size[0]
    return tf.where(
        height_binds,
        tf.stack([size[0], width * size[0] // height]),
        tf.stack([height * size[1] // width, size[1]]),
    )


def _decode_or_explain(index, encoded):
    try:
        return decode_image(encoded)
    except tf.errors.InvalidArgumentError:
        length = len(encoded.numpy())
        raise InvalidInputError(
            f"image {index} ({length} bytes) cannot be decoded: it is cut off, or not one of "
            f"{IMAGE_FORMATS}; give the content of the file, not its path"
        ) from None
