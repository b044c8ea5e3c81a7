"""Pictures that take hundreds of megabytes when they are decoded: one at a time in a process."""

import contextlib
import threading

# Decoded and resized, a picture of this many pixels takes 250 MB.
_LARGE = 16_000_000
_ONE_LARGE = threading.Lock()


def one_at_a_time(num_pixels):
    """Returns the context to decode a picture in; that of a large one waits for other large ones.

    Args:
        num_pixels: of the picture.
    """
    return _ONE_LARGE if num_pixels > _LARGE else contextlib.nullcontext()
