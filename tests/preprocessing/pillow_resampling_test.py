"""The part that a frame shows, against the whole resized by Pillow: not one level may differ."""

import numpy as np
import pytest

from official_coca.preprocessing.pillow_resampling import resized_frame
from tests.preprocessing.resampling_test import FILTERS, SIZES, noise, resized_by_pillow


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("stored", "size"), SIZES)
def test_every_frame_equals_the_same_part_of_the_whole(stored, size, interpolation):
    pixels = noise(*stored, 3)
    whole = resized_by_pillow(pixels, size, interpolation)
    corners = [(0, 0), (size[0] // 3, size[1] // 2), (size[0] - 1, size[1] - 1)]
    for top, left in corners:
        for height, width in [(1, 1), ((size[0] - top + 1) // 2, size[1] - left)]:
            frame = resized_frame(
                pixels, size, (top, left), (height, width), interpolation
            )
            expected = whole[top : top + height, left : left + width]
            np.testing.assert_array_equal(frame, expected)
