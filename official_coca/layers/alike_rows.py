"""A few rows that are all computed in the same way, wherever they stand and whatever the others are.

A product of matrices treats rows at the edge of a block otherwise than those within, and adds in
another order for another number of rows. Eigen's kernel, though, takes four rows at a time through
the same instructions (`nr` in its GeneralBlockPanelKernel.h). Functions of single numbers are
computed by other instructions at the end of a tensor, where no whole vector register is left; where
a group's rows fill whole registers there is no such end. So rows in groups of four, of which short
ones are filled up, keep their bits, and read the weights once for four.
"""

import contextlib
import threading

GROUP_SIZE = 4
# Numbers in a register, from SSE and NEON to AVX-512.
_REGISTER_WIDTHS = (4, 8, 16)

_SETTINGS = threading.local()


def fills_registers(width):
    """Whether a group of rows of so many numbers has no end that is computed by other means."""
    numbers = GROUP_SIZE * width
    return all(numbers % register == 0 or numbers < register for register in _REGISTER_WIDTHS)


@contextlib.contextmanager
def alike_rows():
    """Within it layers multiply by kernels that treat the rows of a group alike.

    For graphs of TensorFlow of `GROUP_SIZE` rows in float32, of layers whose widths all fill
    registers.
    """
    before = rows_are_alike()
    _SETTINGS.are_alike = True
    try:
        yield
    finally:
        _SETTINGS.are_alike = before


def rows_are_alike():
    """Whether this is within `alike_rows`."""
    return getattr(_SETTINGS, "are_alike", False)
