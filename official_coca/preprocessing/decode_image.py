"""From encoded pictures to RGB pixels that equal Pillow's.

Shapes: h x w pixels as stored.
"""

import tensorflow as tf

IMAGE_FORMATS = "JPEG, PNG, GIF, BMP, WebP"

_HEADER_SIZE = 32


def decode_image(encoded):
    """Returns the picture of a scalar string as RGB, (h, w, 3) uint8.

    Reads JPEG, PNG, GIF (first frame), BMP and WebP with any number of channels; alpha is dropped,
    and an orientation noted in EXIF is not applied. Anything else raises a `tf.errors`
    `InvalidArgumentError`, a BMP of 1 bit a pixel too. Pixels equal Pillow's `convert("RGB")`,
    which open weights were trained on, but for some kinds: 16-bit grey PNG is scaled to 8 bits,
    where Pillow clips it; transparent pixels of a GIF show its background, not their palette
    colour, and a frame smaller than its screen comes without the rest; CMYK JPEG is up to one level
    away; BMP is read as blue, green, red whatever order its masks declare.
    TensorFlow's own `decode_image` needs help for that with JPEG, where it uses a coarse inverse
    DCT, with BMP, where it takes palette indices for grey, and with WebP, where it refuses alpha.
    """
    encoded = tf.convert_to_tensor(encoded, tf.string)
    # First, and apart: the questions for the other formats take half as long as a small JPEG.
    is_jpeg = tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"
    image = tf.cond(is_jpeg, lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))
    return tf.ensure_shape(image, (None, None, 3))


def _decode_other(encoded):
    header = tf.io.decode_raw(
        tf.strings.substr(encoded, 0, _HEADER_SIZE), tf.uint8, fixed_length=_HEADER_SIZE
    )
    is_bitmap = _has_bytes(header, 0, b"BM")
    is_webp = _has_bytes(header, 0, b"RIFF") & _has_bytes(header, 8, b"WEBP")
    # Animated WebP goes the default way, which refuses it: decode_webp corrupts the heap there
    # (TensorFlow 2.20).
    is_animated = _has_bytes(header, 12, b"VP8X") & (tf.bitwise.bitwise_and(header[20], 2) > 0)
    is_still_webp = is_webp & ~is_animated
    return tf.switch_case(
        tf.cast(is_bitmap, tf.int32) + 2 * tf.cast(is_still_webp, tf.int32),
        [
            lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
            lambda: _decode_bitmap(encoded, header),
            lambda: _decode_webp(encoded),
        ],
    )


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
