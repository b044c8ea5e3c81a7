"""Loading without Python's search for garbage."""

import contextlib
import gc


@contextlib.contextmanager
def paused_collector():
    """Keeps Python from looking for garbage; also a decorator.

    The thousands of objects of a new model have it search all of TensorFlow's, again and again,
    which takes longer than making them, and finds nothing: they all live on.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
