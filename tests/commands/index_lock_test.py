"""One writer at a time, where the index can be written and where it cannot."""

import pytest

from official_coca.commands import index_lock
from official_coca.commands.embedding_index import INDEX_FILE
from official_coca.commands.index_lock import writing_lock
from official_coca.errors import InvalidInputError
from tests.failing_writes import refuse_to_write


@pytest.mark.parametrize("has_lock", [False, True])
def test_index_that_cannot_be_written_is_locked_all_the_same(tmp_path, monkeypatch, has_lock):
    (tmp_path / INDEX_FILE).touch()
    if has_lock:
        (tmp_path / "lock").touch()
    monkeypatch.setattr(index_lock, "open", refuse_to_write, raising=False)
    with writing_lock(tmp_path):
        with pytest.raises(InvalidInputError, match="another coca index or coca demo"):
            with writing_lock(tmp_path):
                pass


def test_directory_without_index_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(index_lock, "open", refuse_to_write, raising=False)
    with pytest.raises(InvalidInputError, match="cannot be written: Permission denied; name ano"):
        with writing_lock(tmp_path):
            pass
