"""A file is written whole or not at all, and never in place of what is no file."""

import os

import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.saving.whole_file import WholeFile
from tests.failing_writes import files_of_at_most


def write(path, content=b"new"):
    with WholeFile(path, "--output") as file:
        file.write(lambda stream: stream.write(content))


def test_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink() and target.read_bytes() == b"new"
    target.unlink()  # a link to nothing yet
    write(link)
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert os.listdir(tmp_path / "elsewhere") == ["target"]


@pytest.mark.parametrize("through_link", [False, True])
def test_pipe_is_refused_at_once_and_stays(tmp_path, through_link):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    path = link if through_link else pipe
    with pytest.raises(InvalidInputError, match=f"^--output={path} is a device, a pipe or"):
        WholeFile(path, "--output")
    with pytest.raises(InvalidInputError, match=f"^{path} is a device, a pipe or a socket; name"):
        WholeFile(path)
    assert pipe.is_fifo() and set(os.listdir(tmp_path)) == {"pipe", "link"}


def test_link_to_itself_is_refused_and_stays(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(InvalidInputError, match=f"^--output={link} cannot be written: "):
        write(link)
    assert link.is_symlink() and os.listdir(tmp_path) == ["link"]


def test_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        with WholeFile(path, "--output") as file:
            file.write(lambda stream: 1 / 0)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("count", [4, 400])
def test_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, count):
    """In the middle, or where the last bytes are flushed."""
    path = tmp_path / "file.npz"
    path.write_bytes(b"old")
    with pytest.raises(InvalidInputError, match=f"^--output={path} cannot be written: File"):
        with files_of_at_most(100), WholeFile(path, "--output") as file:
            file.write(lambda stream: np.savez(stream, values=np.zeros(count * 100)))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.npz"]
