"""What size and kind a picture file says it is, read from its first bytes without decoding it.

A file of some kilobytes can declare billions of pixels, for which a decoder takes memory before it
finds that they are not there; so sizes are looked at first.

Sources of the layouts: PNG specification 11.2.2 (IHDR), GIF89a specification 18, RFC 9649 (WebP),
ITU-T T.81 annex B (JPEG), Microsoft's BITMAPINFOHEADER.

Shapes: B files, N bytes of a window.
"""

import tensorflow as tf

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEADER_SIZE = 66  # up to the colour masks of a BMP
_JPEG_WINDOW = 16
# Photographs have tens of segments before their size, as many hundreds as megabytes of metadata
# need; a hostile file can have hundreds of thousands.
_MOST_JPEG_SEGMENTS = 500
_START_OF_FRAME = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF]
_CMYK_CHANNELS = 4
# An encoder makes a dozen scans at most, each of which a decoder works through the whole picture
# for, were it of 26 bytes. Film that telephones put behind a photo can look like a start of a scan
# by chance, once in 65,536 bytes.
_START_OF_SCAN = b"\xff\xda"
_MOST_SCANS, _BYTES_PER_SCAN = 100, 2**14
_BITMAP_BITS = [8, 24, 32]  # that TensorFlow's decoder reads
_BITMAP_MASKED = 3  # BI_BITFIELDS
_BITMAP_MASKS = [0x00FF0000, 0x0000FF00, 0x000000FF]  # where it looks for red, green and blue
_WITHOUT_LENGTH = [0x01, *range(0xD0, 0xD8)]
_NO_SIZE_TO_COME = [0xD8, 0xD9, 0xDA]  # a second start, the end, the pixels


def servable_pixels(encoded):
    """Returns the pixels that each file declares, (B,) int64; 0 for what is not served.

    Not served are other formats than JPEG, PNG, GIF, BMP and WebP, animated WebP, JPEG without a
    frame header, of four colours (CMYK) or of hundreds of scans, PNG of 16 bits, BMP with colours
    in an uncommon order, and pictures of one pixel. Works in a graph, for any B.

    Args:
        encoded: (B,) strings.
    """
    header = byte_window(encoded, 0, _HEADER_SIZE)
    is_jpeg = starts_with(header, b"\xff\xd8\xff")
    is_webp = starts_with(header, b"RIFF") & starts_with(header, b"WEBP", 8)
    sizes = [
        (starts_with(header, PNG_SIGNATURE) & starts_with(header, b"IHDR", 12), _png_size),
        (starts_with(header, b"GIF8"), _gif_size),
        (starts_with(header, b"BM"), _bitmap_size),
        (is_webp & starts_with(header, b"VP8 ", 12), _lossy_webp_size),
        (is_webp & starts_with(header, b"VP8L", 12), _lossless_webp_size),
        (is_webp & starts_with(header, b"VP8X", 12), _extended_webp_size),
    ]
    pixels = _jpeg_pixels(encoded, is_jpeg)
    for is_format, size in sizes:
        width, height = size(header)
        pixels = tf.where(is_format, width * height, pixels)
    return tf.where(pixels == 1, tf.zeros_like(pixels), pixels)


def byte_window(encoded, start, size):
    """Returns the bytes from `start` on, (B, size) or (size,) int64, zero behind the end."""
    start = tf.minimum(tf.cast(start, tf.int32), tf.strings.length(encoded))
    window = tf.strings.substr(encoded, start, tf.fill(tf.shape(start), size))
    return tf.cast(tf.io.decode_raw(window, tf.uint8, fixed_length=size), tf.int64)


def starts_with(window, expected, position=0):
    """Returns whether the bytes `expected` stand at `position` of a window (..., N)."""
    here = window[..., position : position + len(expected)]
    return tf.reduce_all(here == tf.constant(list(expected), tf.int64), axis=-1)


def little_endian(window, position, num_bytes):
    """Returns the unsigned number at `position` of a window (..., N), lowest byte first."""
    weights = tf.constant([256**index for index in range(num_bytes)], tf.int64)
    return tf.reduce_sum(window[..., position : position + num_bytes] * weights, axis=-1)


def big_endian(window, position, num_bytes):
    """Returns the unsigned number at `position` of a window (..., N), highest byte first."""
    weights = tf.constant([256**index for index in reversed(range(num_bytes))], tf.int64)
    return tf.reduce_sum(window[..., position : position + num_bytes] * weights, axis=-1)


def _png_size(header):
    is_served = tf.cast(header[..., 24] != 16, tf.int64)  # bits of a channel
    return big_endian(header, 16, 4) * is_served, big_endian(header, 20, 4)


def _gif_size(header):
    return little_endian(header, 6, 2), little_endian(header, 8, 2)


def _bitmap_size(header):
    height = little_endian(header, 22, 4)
    height = tf.minimum(height, 2**32 - height)  # top-down: negative
    bits = little_endian(header, 28, 2)
    masks = tf.stack([little_endian(header, position, 4) for position in (54, 58, 62)], axis=-1)
    is_masked = little_endian(header, 30, 4) == _BITMAP_MASKED
    is_common = tf.reduce_all(masks == tf.constant(_BITMAP_MASKS, tf.int64), axis=-1)
    is_served = _is_among(bits, _BITMAP_BITS) & (~is_masked | is_common)
    return little_endian(header, 18, 4), height * tf.cast(is_served, tf.int64)


def _lossy_webp_size(header):
    mask = tf.constant(0x3FFF, tf.int64)  # the two bits above are a scale that nobody applies
    width, height = (little_endian(header, position, 2) for position in (26, 28))
    return tf.bitwise.bitwise_and(width, mask), tf.bitwise.bitwise_and(height, mask)


def _lossless_webp_size(header):
    bits = little_endian(header, 21, 4)  # 14 for each side, less one
    return bits % 2**14 + 1, bits // 2**14 % 2**14 + 1


def _extended_webp_size(header):
    is_animated = header[..., 20] // 2 % 2 == 1
    width, height = (little_endian(header, position, 3) + 1 for position in (24, 27))
    return width * tf.cast(~is_animated, tf.int64), height


def _jpeg_pixels(encoded, is_jpeg):
    """Walks the segments of all files at once up to their frame headers, as libjpeg does."""
    lengths = tf.strings.length(encoded)

    def is_open(step, _, walking, __):
        return tf.reduce_any(walking) & (step < _MOST_JPEG_SEGMENTS)

    def walk(step, position, walking, pixels):
        window = byte_window(encoded, position, _JPEG_WINDOW)
        is_marker = (window[:, :-1] == 0xFF) & (window[:, 1:] != 0) & (window[:, 1:] != 0xFF)
        # What stands between segments is skipped, be it padding or rubbish.
        offset = tf.argmax(is_marker, axis=1, output_type=tf.int32)
        offset = tf.where(tf.reduce_any(is_marker, axis=1), offset, _JPEG_WINDOW - 1)
        marker, length = window[:, 1], tf.cast(big_endian(window, 2, 2), tf.int32)
        at_marker = offset == 0
        found = walking & at_marker & _is_among(marker, _START_OF_FRAME)
        is_served = tf.cast(window[:, 9] != _CMYK_CHANNELS, tf.int64)
        size = big_endian(window, 5, 2) * big_endian(window, 7, 2)
        pixels = tf.where(found, size * is_served, pixels)
        alone = _is_among(marker, _WITHOUT_LENGTH)
        hopeless = at_marker & (_is_among(marker, _NO_SIZE_TO_COME) | (~alone & (length < 2)))
        advance = tf.where(at_marker, tf.where(alone, 2, 2 + length), offset)
        position = tf.where(walking, position + advance, position)
        return step + 1, position, walking & ~found & ~hopeless & (position < lengths), pixels

    is_jpeg &= _num_scans(encoded, is_jpeg) <= _MOST_SCANS + lengths // _BYTES_PER_SCAN
    start = (0, tf.fill(tf.shape(lengths), 2), is_jpeg, tf.zeros_like(lengths, tf.int64))
    return tf.while_loop(is_open, walk, start)[-1]


def _num_scans(encoded, is_jpeg):
    pieces = tf.strings.split(tf.where(is_jpeg, encoded, ""), _START_OF_SCAN)
    return tf.cast(pieces.row_lengths(), tf.int32) - 1


def _is_among(values, choices):
    return tf.reduce_any(values[:, tf.newaxis] == tf.constant(choices, tf.int64), axis=1)
