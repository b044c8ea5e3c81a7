"""Copies look like the pictures, whatever these are stored as."""

import io
import subprocess
import sys
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


def test_picture_is_turned_though_other_parts_of_its_exif_are_damaged(tmp_path):
    wide, path = turned_picture(tmp_path)
    content = path.read_bytes()
    fraction, text = (b"\x01\x1a" + kind.to_bytes(2, "big") for kind in (5, 2))
    assert content.count(fraction) == 1
    path.write_bytes(content.replace(fraction, text))
    upright = wide.transpose(Image.Transpose.ROTATE_270)
    assert abs(copy_of_file(path) - np.asarray(upright, int)).mean() < 3


def test_picture_whose_exif_cannot_be_read_is_shown_as_it_is_stored(tmp_path):
    wide, path = turned_picture(tmp_path)
    content = path.read_bytes()
    assert content.count(b"Exif\0\0MM") == 1
    path.write_bytes(content.replace(b"Exif\0\0MM", b"Exif\0\0XX"))
    assert abs(copy_of_file(path) - np.asarray(wide, int)).mean() < 3


def turned_picture(directory):
    """A grey picture, and the file of it that asks to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation
    exif[0x011A] = 72.0  # XResolution, a fraction
    wide, path = GREY.crop((0, 0, 64, 32)), directory / "picture.jpg"
    wide.save(path, exif=exif)
    return wide, path


def test_copy_of_a_picture_that_is_shrunk_in_strips_looks_like_one_that_is_not(tmp_path):
    """Invisible black around what is seen must not darken its edge."""
    levels, cell = np.random.default_rng(0).integers(60, 255, (6, 14)), np.ones((235, 235))
    is_seen = np.kron(np.indices(levels.shape).sum(axis=0) % 3 > 0, cell) > 0
    grey = np.where(is_seen, np.kron(levels, cell), 0).astype(np.uint8)
    bands = [Image.fromarray(band) for band in (grey, is_seen.astype(np.uint8) * 255)]
    picture = Image.merge("LA", bands)
    on_white = Image.fromarray(np.where(is_seen, grey, 255).astype(np.uint8))
    expected = on_white.resize((224, 96), Image.Resampling.BICUBIC)
    copy = copy_of(picture.convert("RGBA"), tmp_path)
    assert copy.shape == (96, 224) and abs(copy - np.asarray(expected, int)).mean() < 3


def test_large_picture_takes_little_more_memory_than_its_pixels(tmp_path):
    path, side = tmp_path / "large.png", 5000
    Image.new("RGBA", (side, side), (9, 9, 9, 0)).save(path, compress_level=1)
    code = (
        "import pathlib, re, sys, types\n"
        "from official_coca.commands.demo.pictures import Pictures\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "pictures = Pictures(types.SimpleNamespace(images=path.parent, path=lambda row: path))\n"
        "import PIL.Image, PIL.ImageOps, PIL.PngImagePlugin\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "def peak(): return 1024 * int(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1])\n"
        "before = peak(); pictures.jpeg(0, 'large'); print(peak() - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert int(ran.stdout) < 1.5 * 4 * side * side, ran.stderr
