"""Copies look like the pictures, whatever these are stored as."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from official_coca.commands.demo.pictures import Pictures

RAMP = np.arange(64 * 64).reshape(64, 64)
GREY = Image.fromarray((RAMP // 16).astype(np.uint8))


def copy_of(image, directory, kind="png", **options):
    path = directory / f"picture.{kind}"
    image.save(path, **options)
    return copy_of_file(path)


def copy_of_file(path):
    pictures = Pictures(SimpleNamespace(images=path.parent, path=lambda row: path))
    return np.asarray(Image.open(io.BytesIO(pictures.jpeg(0, "small"))).convert("L"), int)


@pytest.mark.parametrize("options", [{}, {"transparency": 65_535}])
def test_grey_of_16_bits_keeps_its_levels(tmp_path, options):
    levels = (RAMP * 16 + RAMP // 256).astype(np.uint16)
    copy = copy_of(Image.fromarray(levels), tmp_path, **options)
    assert levels.max() == 65_535 and abs(copy - levels // 256).max() <= 3


@pytest.mark.parametrize(
    "mode, kind",
    [("1", "png"), ("L", "jpg"), ("LA", "png"), ("P", "gif"), ("RGBA", "webp"), ("CMYK", "jpg")],
)
def test_other_kinds_look_as_they_are(tmp_path, mode, kind):
    stored = GREY.convert(mode)
    expected = np.asarray(stored.convert("RGB").convert("L"), int)
    assert abs(copy_of(stored, tmp_path, kind) - expected).mean() < 3


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour_is_shown_on_white(tmp_path, mode):
    black = Image.new("RGB", (20, 20)).convert(mode)
    transparency = black.getpixel((0, 0))
    assert copy_of(black, tmp_path, transparency=transparency).min() > 250


def test_picture_with_damaged_exif_is_shown_as_it_is_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned
    exif[0x011A] = 72.0  # XResolution, a fraction
    wide, path = GREY.crop((0, 0, 64, 32)), tmp_path / "picture.jpg"
    wide.save(path, exif=exif)
    content = path.read_bytes()
    fraction, text = (b"\x01\x1a" + kind.to_bytes(2, "big") for kind in (5, 2))
    assert content.count(fraction) == 1
    path.write_bytes(content.replace(fraction, text))
    assert abs(copy_of_file(path) - np.asarray(wide, int)).mean() < 3
