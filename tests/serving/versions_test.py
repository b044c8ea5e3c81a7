"""A version is whole from its first moment on."""

import errno
import os
import subprocess
import sys
import time

import pytest

from official_coca.errors import InvalidInputError
from official_coca.serving.versions import versions_newest_first, write_version


def fill(path):
    (path / "saved_model.pb").write_bytes(b"model")


def test_versions_count_up_from_one(tmp_path):
    assert [write_version(tmp_path / "new", fill).name for _ in range(3)] == ["1", "2", "3"]
    (tmp_path / "new" / "10").mkdir()
    assert write_version(tmp_path / "new", fill).name == "11"
    assert versions_newest_first(tmp_path / "new")[0].name == "11"


def test_error_leaves_nothing_behind(tmp_path):
    def fail(path):
        fill(path)
        raise ValueError("no")

    with pytest.raises(ValueError):
        write_version(tmp_path, fail)
    assert not list(tmp_path.iterdir())
    assert not versions_newest_first(tmp_path)


def test_full_disk_is_named_and_leaves_nothing_behind(tmp_path):
    def fail(path):
        fill(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InvalidInputError, match="cannot write to .*: No space left on device; "):
        write_version(tmp_path, fail)
    assert not list(tmp_path.iterdir())


def test_kill_leaves_no_number(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from official_coca.serving.versions import write_version\n"
        "def write(path):\n"
        "    (path / 'saved_model.pb').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_version(sys.argv[1], write)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    (left,) = tmp_path.iterdir()
    assert not left.name.isdecimal()
    assert write_version(tmp_path, fill).name == "1"
    assert left.exists()  # it may belong to a run that is still writing
    os.utime(left, (time.time() - 86_400,) * 2)
    write_version(tmp_path, fill)
    assert not left.exists()


def test_versions_with_a_graph_come_by_number(tmp_path):
    for name in ("2", "10", "x"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    (tmp_path / "11").mkdir()
    assert [version.name for version in versions_newest_first(tmp_path)] == ["10", "2"]
