"""A bad picture costs its own row, no memory to speak of, and nothing else."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.gif_frames import only_gif_frame
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.safe_decode import SafeImageDecoder
from tests.preprocessing import pictures

CONVERTER = ImageConverter((8, 12))
GOOD = pictures.good_pictures()


@pytest.fixture(scope="module")
def decode():
    return tf.function(
        SafeImageDecoder(CONVERTER), input_signature=[tf.TensorSpec([None], tf.string)]
    )


def test_good_pictures_are_as_the_converter_makes_them(decode):
    images, valid = decode(tf.constant(list(GOOD.values())))
    assert dict(zip(GOOD, valid.numpy())) == dict.fromkeys(GOOD, True)
    np.testing.assert_array_equal(images, CONVERTER.decode(list(GOOD.values())))


def test_bad_pictures_are_zero_and_leave_the_others_as_they_are(decode):
    bad = {**pictures.bad_pictures(), **pictures.unusual_pictures(), **pictures.bombs()}
    names = list(bad)
    mixed = [file for name in names for file in (bad[name], GOOD["jpeg"])]
    images, valid = decode(tf.constant(mixed))
    assert dict(zip(names, valid.numpy()[::2])) == dict.fromkeys(names, False)
    assert valid.numpy()[1::2].all()
    assert not images.numpy()[::2].any()
    expected = CONVERTER.decode([GOOD["jpeg"]])
    np.testing.assert_array_equal(images[1::2], np.repeat(expected, len(names), axis=0))


def test_a_batch_may_be_empty_or_all_bad(decode):
    images, valid = decode(tf.constant([], tf.string))
    assert images.shape == (0, 8, 12, 3) and valid.shape == (0,)
    images, valid = decode(tf.constant([b"", b"x"]))
    assert not images.numpy().any() and not valid.numpy().any()


def test_large_pictures_are_decoded_up_to_the_limit():
    large = pictures.encode(pictures.random_picture((2100, 2000)), "JPEG")
    for limit, expected in ((4_200_000, True), (4_199_999, False)):
        images, valid = SafeImageDecoder(CONVERTER, limit)(tf.constant([GOOD["png"], large]))
        assert valid.numpy().tolist() == [True, expected]
        if expected:
            np.testing.assert_array_equal(images[1:], CONVERTER.decode([large]))


def test_limit_that_is_no_number_of_pixels_is_refused():
    with pytest.raises(InvalidInputError, match="max_pixels"):
        SafeImageDecoder(CONVERTER, 0)


@pytest.mark.parametrize("size", [(37, 23), (400, 300)])
def test_gif_is_cut_after_its_frame(size):
    gif = pictures.animation("GIF", 1, size)
    cut = only_gif_frame(tf.constant(gif + b"\x21\xfe" + b"rest " * 99), 10**6).numpy()
    assert len(cut) <= len(gif)
    np.testing.assert_array_equal(CONVERTER.decode([cut]), CONVERTER.decode([gif]))


def test_gif_without_an_end_may_have_padding(decode):
    gif = pictures.animation("GIF", 1)
    images, valid = decode(tf.constant([gif[:-1] + bytes(1_000_000)]))
    assert valid.numpy().all()
    np.testing.assert_array_equal(images, CONVERTER.decode([gif]))


def test_unusual_pictures_are_refused_although_the_converter_reads_them(decode):
    unusual = list(pictures.unusual_pictures().values())
    assert np.isfinite(CONVERTER.decode(unusual)).all()
    assert not decode(tf.constant(unusual))[1].numpy().any()


def test_other_files_are_not_cut():
    for file in (GOOD["png"], b"", b"GI"):
        assert only_gif_frame(tf.constant(file), 10**6).numpy() == file


def test_bomb_takes_no_memory_in_proportion_to_its_pixels():
    code = """
import resource, tensorflow as tf
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.safe_decode import SafeImageDecoder
from tests.preprocessing import pictures
decode = tf.function(SafeImageDecoder(ImageConverter((8, 12))))
decode(tf.constant([pictures.good_pictures()["png"]] * 7))
bombs = tf.constant(list({**pictures.bombs(), "whole": pictures.png_of_zeros(9000, 9000)}.values()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not decode(bombs)[1].numpy().any()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 50_000  # KiB; the smallest of them would take 237,000
