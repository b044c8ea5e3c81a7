"""Small JPEG copies of the indexed images, which is all that leaves the directory."""

import functools
import io
import os

from official_coca.commands import image_files
from official_coca.commands.large_pictures import one_at_a_time
from official_coca.errors import InvalidInputError

SIDES = {"small": 224, "large": 900}  # longest side in pixels
_KEPT = 4096  # about 50 MB of small ones
_QUALITY = 85
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_ORIENTATION = 0x0112  # of EXIF
_REDUCING_GAP = 2  # times as large as the copy, for which means of squares do, as Pillow advises
_STRIP_HEIGHT = 16  # rows of the reduced picture


class Pictures:
    """Makes copies, upright, without transparency and without what else a file tells.

    Args:
        index: an `EmbeddingIndex`.
    """

    def __init__(self, index):
        self._index = index
        self.jpeg = functools.lru_cache(_KEPT)(self._jpeg)

    def path(self, row):
        """Returns the path of the image in a row.

        Raises:
            InvalidInputError: a symbolic link leads outside of the directory.
        """
        path = os.path.realpath(self._index.path(row))
        if not image_files.lies_within(self._index.images, path):
            raise InvalidInputError("this file lies outside of the directory")
        return path

    def _jpeg(self, row, size):
        """Returns the JPEG bytes of the image in a row, of a size of `SIDES`.

        Raises:
            InvalidInputError: the image is gone, outside of the directory, or cannot be read.
        """
        from PIL import Image

        path = self.path(row)
        side = SIDES[size]
        try:
            with Image.open(path, formats=_FORMATS) as image:
                with one_at_a_time(image.width * image.height):
                    image.draft("RGB", (side, side))  # a JPEG is decoded no larger than it must be
                    copy = _reduced(image, side)
                copy.thumbnail((side, side))
                return _encoded(_upright(copy, _orientation(image)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InvalidInputError(f"this file cannot be shown: {error}") from None


def _reduced(image, side):
    """A copy for a thumbnail of a side, opaque; made in strips, as all of it may be 700 MB."""
    from PIL import Image

    factor = max(image.size) // (side * _REDUCING_GAP) or 1
    small = [-(-length // factor) for length in image.size]
    reduced = Image.new("RGB", small)
    height = factor * _STRIP_HEIGHT
    for number, top in enumerate(range(0, image.height, height)):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        reduced.paste(_opaque(strip).reduce(factor), (0, number * _STRIP_HEIGHT))
    return reduced


def _orientation(image):
    """What the EXIF says, or None; None where it is damaged."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001  Pillow raises what it runs into: SyntaxError, struct.error
        return None


def _upright(copy, orientation):
    """The copy turned as the EXIF asks."""
    from PIL import ImageOps

    copy.getexif()[_ORIENTATION] = orientation or 1
    return ImageOps.exif_transpose(copy)


def _opaque(image):
    """The picture in RGB of 8 bits; on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips. A transparent level is shown, as the model sees it.
        return image.point(lambda level: level / 256).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _encoded(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
