"""Picture files of every kind that a server is sent, good and bad."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 37, 23
PNG_HEADER = 33  # bytes of the signature and the first chunk


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def random_picture(size=(WIDTH, HEIGHT), seed=0, channels=3):
    shape = (size[1], size[0], channels)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def animation(kind, frames=3, size=(WIDTH, HEIGHT), **options):
    pictures = [random_picture(size, seed) for seed in range(frames)]
    return encode(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


def good_pictures():
    """Name → file; all declare WIDTH x HEIGHT."""
    colour, transparent = random_picture(), random_picture(channels=4)
    jpeg, png_file = encode(colour, "JPEG"), encode(colour, "PNG")
    one_frame = png_chunk(b"acTL", struct.pack(">II", 1, 0))
    return {
        "jpeg": jpeg,
        "jpeg progressive": encode(colour, "JPEG", progressive=True),
        "jpeg grey": encode(colour.convert("L"), "JPEG"),
        "jpeg with another in its exif": encode(colour, "JPEG", exif=b"Exif\0\0" + jpeg),
        "jpeg with fill bytes": jpeg[:2] + b"\xff" * 40 + jpeg[2:],
        "png": png_file,
        "png alpha": encode(transparent, "PNG"),
        "png palette": encode(colour.convert("P"), "PNG"),
        "gif": encode(colour.convert("P"), "GIF"),
        "gif with comment": encode(colour.convert("P"), "GIF", comment=b"no, " * 200),
        "png animation of one frame": png_file[:PNG_HEADER] + one_frame + png_file[PNG_HEADER:],
        "png that names the chunk": encode(colour, "PNG", exif=b"Exif\0\0acTL\0\0\0\2"),
        "bmp": encode(colour, "BMP"),
        "bmp palette": encode(colour.quantize(7), "BMP"),
        "webp": encode(colour, "WEBP"),
        "webp lossless": encode(colour, "WEBP", lossless=True),
        "webp alpha": encode(transparent, "WEBP"),
    }


def unusual_pictures():
    """Name → file that can be read, and that serving refuses all the same."""
    colour = random_picture()
    sixteen_bit = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    wide_rgb = b"".join(b"\0" + row.repeat(3).astype(">u2").tobytes() for row in sixteen_bit)
    return {
        "jpeg cmyk": encode(colour.convert("CMYK"), "JPEG"),
        "jpeg cmyk progressive": encode(colour.convert("CMYK"), "JPEG", progressive=True),
        "png 16 bit grey": encode(Image.fromarray(sixteen_bit), "PNG"),
        "png 16 bit colour": png(WIDTH, HEIGHT, zlib.compress(wide_rgb), bits=16),
        "png animated": animation("PNG"),
        "png animated with a profile before": animation("PNG", icc_profile=b"profile" * 99),
        "gif animated": animation("GIF"),
        "gif animated of large frames": animation("GIF", 2, (400, 300)),
        "gif animated with stray bytes between": with_bytes_between_frames(b"\0\1\2"),
        "gif animated with 20,000 comments between": with_bytes_between_frames(
            b"\x21\xfe\x01a\0" * 20_000
        ),
        "png animated behind 600 texts": with_texts(animation("PNG"), 600),
        "jpeg of 300 scans": jpeg_of_scans(300),
        "bmp of red, green, blue": masked_bitmap(0xFF, 0xFF00, 0xFF0000),
        **{
            f"{kind.lower()} of one pixel": encode(random_picture((1, 1)), kind)
            for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")
        },
    }


def with_bytes_between_frames(between):
    """A GIF of two frames with something before the second."""
    gif = animation("GIF", 1)
    frame = gif[gif.index(b"\x2c" + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT)) :]
    return gif[:-1] + between + frame


def with_texts(file, count):
    """A PNG with text chunks behind its header."""
    header_end = 8 + 25
    return file[:header_end] + png_chunk(b"tEXt", b"a\0b") * count + file[header_end:]


def jpeg_of_scans(count):
    """A progressive JPEG whose last scan is there so many times."""
    jpeg = encode(random_picture(), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + jpeg[-2:]


def masked_bitmap(*masks):
    """A BMP of 32 bits a pixel that says where its red, green and blue are."""
    pixels = random_picture(channels=4).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    content = header + struct.pack("<III", *masks) + pixels
    return b"BM" + struct.pack("<IHHI", 14 + len(content), 0, 0, 14 + 40 + 12) + content


def bombs(width=20_000, height=20_000):
    """Name → small file that declares a huge picture."""
    jpeg = encode(random_picture(), "JPEG")
    size_at = jpeg.index(b"\xff\xc0") + 5
    gif = bytearray(encode(random_picture().convert("P"), "GIF"))
    size_bytes = struct.pack("<HH", width, height)
    wide_frame = bytearray(gif)
    frame_at = gif.index(b"\x2c" + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    wide_frame[frame_at + 5 : frame_at + 9] = size_bytes
    gif[6:10] = size_bytes
    webp = bytearray(encode(random_picture(channels=4), "WEBP"))
    webp[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    bitmap = bytearray(encode(random_picture(), "BMP"))
    bitmap[18:26] = struct.pack("<ii", width, -height)
    return {
        "png": png_of_zeros(width, height, rows=10),
        "jpeg": jpeg[:size_at] + struct.pack(">HH", height, width) + jpeg[size_at + 4 :],
        "gif": bytes(gif),
        "gif frame": bytes(wide_frame),
        "webp": bytes(webp),
        "bmp": bytes(bitmap),
    }


def png_of_zeros(width, height, rows=None):
    """A PNG of black pixels, a thousandth of their size; `rows` of them, or all."""

    deflate = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    pixels = b"".join(deflate.compress(row) for _ in range(rows or height)) + deflate.flush()
    return png(width, height, pixels)


def png(width, height, deflated, bits=8):
    """A PNG of three colours around its deflated pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", deflated), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def bad_pictures():
    """Name → file that is no picture, or not a whole one."""
    good = good_pictures()
    cut = {
        f"{name} cut at {share}": file[: int(len(file) * share)]
        for name, file in good.items()
        for share in (0.05, 0.6)
        if name in ("jpeg", "jpeg progressive", "png", "gif", "bmp", "webp")
    }
    return {
        "empty": b"",
        "text": b"hello",
        "jpeg start": b"\xff\xd8\xff",
        "jpeg of endless segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 50_000,
        "jpeg segment of no length": b"\xff\xd8\xff\xe0\x00\x00" + good["jpeg"],
        "png start": b"\x89PNG\r\n\x1a\n",
        "gif start": b"GIF89a",
        "webp animated": animation("WEBP"),
        "gif animated, cut in its last frame": animation("GIF", 2, (400, 300))[:-99],
        "webp start": b"RIFF\0\0\0\0WEBPVP8X",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        **cut,
    }
