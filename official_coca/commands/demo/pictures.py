"""Small JPEG copies of the indexed images, which is all that leaves the directory."""

import functools
import io
import os

from official_coca.commands import image_files
from official_coca.errors import InvalidInputError

SIDES = {"small": 224, "large": 900}  # longest side in pixels
_KEPT = 4096  # about 50 MB of small ones
_QUALITY = 85
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


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
                image.draft("RGB", (side, side))  # a JPEG is decoded no larger than it must be
                image = _opaque(_upright(image))
                image.thumbnail((side, side))
                return _encoded(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InvalidInputError(f"this file cannot be shown: {error}") from None


def _upright(image):
    """The picture turned as its EXIF asks; as it is stored where that is damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  Pillow writes the EXIF anew: TypeError, struct.error, others
        return image  # where the pixels are damaged, scaling raises again


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
