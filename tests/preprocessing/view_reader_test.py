"""The reader gives the views of the graph, and refuses the same files."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.preprocessing.decode_image import decode_image
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.view_reader import ViewReader
from tests.preprocessing.pictures import encode, good_pictures, random_picture

FILES = good_pictures()
CONVERTERS = {
    mode: ImageConverter(
        (16, 12), resize_mode=mode, resampler="pillow", interpolation="bicubic", fill_color=(9, 0, 200)
    )
    for mode in ("squash", "crop", "pad")
}


def read(converter, files):
    dataset = tf.data.Dataset.from_tensor_slices(list(files)).map(ViewReader(converter))
    return list(dataset.as_numpy_iterator())


def view_of_the_graph(converter, file):
    return converter(decode_image(file)).numpy()


@pytest.mark.parametrize("mode", CONVERTERS)
def test_pixels_of_every_kind_of_file_equal_those_of_the_graph(mode):
    converter = CONVERTERS[mode]
    for (view, valid), (name, file) in zip(read(converter, FILES.values()), FILES.items()):
        assert valid, name
        np.testing.assert_array_equal(view, view_of_the_graph(converter, file), err_msg=name)


@pytest.mark.parametrize("mode", CONVERTERS)
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (16, 12), (3, 900), (900, 3), (1, 1)])
def test_pixels_of_jpeg_files_of_every_shape_equal_those_of_the_graph(mode, size):
    converter, file = CONVERTERS[mode], encode(random_picture(size), "JPEG", quality=90)
    ((view, valid),) = read(converter, [file])
    assert valid
    np.testing.assert_array_equal(view, view_of_the_graph(converter, file))


def test_files_that_the_graph_refuses_are_not_valid_and_cost_no_other():
    good = FILES["jpeg"]
    files = [b"", b"rubbish", good[: len(good) // 2], good[:20], FILES["png"][:40], good]
    frames, valid = zip(*read(CONVERTERS["crop"], files))
    assert [bool(one) for one in valid] == [False] * 5 + [True]
    assert not np.any(frames[:5]) and np.any(frames[5])
