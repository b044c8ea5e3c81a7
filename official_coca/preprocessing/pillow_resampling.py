"""Pillow's resampling by Pillow itself, for input pipelines: only what a frame shows of it.

`resampling` computes the same pixels as a graph, which can be exported and takes longer.

Shapes: h x w pixels as stored, H x W pixels of the frame.
"""

import math

import numpy as np
from PIL import Image

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resized_frame(picture, resized_size, offset, frame_size, interpolation):
    """Returns the frame (H, W, 3) uint8 that Pillow cuts out of a resized picture.

    One axis is resized after the other, in Pillow's order, and each is cut before the next.

    Args:
        picture: a `PIL.Image.Image` in RGB.
        resized_size: height and width of the whole resized picture.
        offset: row and column of the resized picture where the frame begins.
        frame_size: (H, W); the frame lies within the resized picture.
        interpolation: "bilinear" or "bicubic", with antialiasing.
    """
    stored_size = (picture.height, picture.width)
    shrinks = [stored - resized for stored, resized in zip(stored_size, resized_size)]
    first, second = (0, 1) if shrinks[0] > 0 and shrinks[0] > 2 * shrinks[1] else (1, 0)
    begins = [offset[axis] for axis in (0, 1)]
    ends = [offset[axis] + frame_size[axis] for axis in (0, 1)]

    # Of the axis that comes second, only what the frame needs goes through the first pass. Then a
    # crop beyond the edges puts it back to its place, since Pillow counts from the border.
    scale = stored_size[second] / resized_size[second]
    needed = _needed_inputs(stored_size[second], scale, begins[second], ends[second])
    kept = _box(second, needed, (0, stored_size[first]))
    picture = _resized_axis(picture.crop(kept), first, resized_size[first], interpolation)
    place = (-needed[0], stored_size[second] - needed[0])
    picture = picture.crop(_box(second, place, (begins[first], ends[first])))
    picture = _resized_axis(picture, second, resized_size[second], interpolation)
    lines = slice(begins[second], ends[second])
    return np.asarray(picture)[lines] if second == 0 else np.asarray(picture)[:, lines]


def _resized_axis(picture, axis, length, interpolation):
    size = (picture.width, length) if axis == 0 else (length, picture.height)
    return picture.resize(size, _FILTERS[interpolation])


def _needed_inputs(length, scale, begin, end):
    """Returns the first input that outputs `begin` to `end` need and the one behind the last."""
    reach = 2 * max(scale, 1.0) + 1  # bicubic reaches 2 pixels, stretched where it shrinks
    return (
        max(math.floor(begin * scale - reach), 0),
        min(math.ceil(end * scale + reach), length),
    )


def _box(axis, along, across):
    """Returns Pillow's (left, top, right, bottom) of a range along an axis and one across it."""
    rows, columns = (along, across) if axis == 0 else (across, along)
    return columns[0], rows[0], columns[1], rows[1]
