"""Writing that fails, as on a full disk or in the directory of somebody else."""

import contextlib
import errno
import resource


@contextlib.contextmanager
def files_of_at_most(num_bytes):
    """Makes writing beyond a size of a file fail: "File too large"."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse_to_write(path, mode="r", **options):
    """`open` as where nothing can be written."""
    if mode != "r":
        raise PermissionError(errno.EACCES, "Permission denied")
    return open(path, mode, **options)
