"""Reading images ahead and running a model on them."""

import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from official_coca.commands import image_stream
from official_coca.commands.image_files import ImageFile
from official_coca.errors import InvalidInputError
from tests.tiny_models import encoded_images


@pytest.fixture
def reader(model):
    return image_stream.ImageReader(model.preprocessor.image_converter)


def image_files(directory, count):
    paths = [directory / f"{number}.png" for number in range(count)]
    for path, encoded in zip(paths, encoded_images(count)):
        path.write_bytes(encoded)
    return [ImageFile(str(path)) for path in paths]


def test_pixels_are_those_of_the_converter(reader, model, photos):
    expected = model.preprocessor.image_converter.decode([(photos / "a.png").read_bytes()])[0]
    np.testing.assert_allclose(reader.read(str(photos / "a.png")), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 4])
def test_bitmap_of_few_bits_a_pixel_is_told_so(reader, bits):
    stream = io.BytesIO()
    Image.new("1", (40, 40)).save(stream, "BMP")
    content = bytearray(stream.getvalue())
    content[28] = bits
    with pytest.raises(InvalidInputError, match="BMP of less than 8 bits a pixel"):
        reader.decode(bytes(content))


def test_batches_are_full_but_for_the_first_of_few(model, tmp_path):
    def sizes(count):
        seen = []

        def predict(images):
            seen.append(len(images))
            return list(images.mean(axis=(1, 2, 3)))

        files = image_files(tmp_path, count)
        outcomes = list(image_stream.run_on_images(model, files, predict, 4))
        assert [file for file, _, _ in outcomes] == files
        assert len({float(mean) for _, mean, _ in outcomes}) == count
        return seen

    assert sizes(3) == [3]
    assert sizes(9) == [4, 4, 4]


def test_bad_files_at_the_start_are_told_before_any_image(model, tmp_path):
    files = [ImageFile(str(tmp_path / "absent.png"))] * 3 + image_files(tmp_path, 1)
    outcomes = image_stream.run_on_images(model, files, lambda images: 1 / 0, 4)
    assert [next(outcomes)[2] for _ in range(3)] == ["no such file or directory"] * 3


def test_only_so_many_files_are_read_ahead(reader, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(reader, "read", started.append)
    stream = reader.read_all([ImageFile(str(number)) for number in range(100)], ahead=5)
    next(stream)
    time.sleep(0.1)
    assert len(started) == 6
    stream.close()
    time.sleep(0.1)
    assert len(started) == 6


def test_what_is_no_image_file_says_why(reader, tmp_path):
    def problem(path):
        with pytest.raises(InvalidInputError) as caught:
            reader.read(path)
        return str(caught.value)

    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert problem(str(pipe)) == "it is not a regular file"
    assert problem(str(tmp_path / ("x" * 300))) == "file name too long"
    assert "null" in problem("a\0b.png")
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    with open(strange, "wb") as file:
        file.write(encoded_images(1)[0])
    assert "not valid UTF-8" in problem(strange)


def test_picture_with_too_many_pixels_is_refused_by_its_header(reader, tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    with pytest.raises(InvalidInputError, match="too many to decode safely"):
        reader.read(str(bomb))
