"""A kill or a full disk at any moment loses nothing, and no more is written than must be."""

import errno
import json
import os

import numpy as np
import pytest

from official_coca.commands import index_writer
from official_coca.commands.embedding_index import INDEX_FILE, EmbeddingIndex, Row
from official_coca.commands.index_writer import IndexWriter
from official_coca.errors import InvalidInputError
from tests.failing_writes import files_of_at_most, refuse_to_write

WIDTH = 256


def rows(count, start=0):
    return [Row(f"{number}.png", 10, number) for number in range(start, start + count)]


def embeddings(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype("float32")


def writer_to(directory, old=None, kept=(), model="model"):
    return IndexWriter(directory, model, "f00", directory, old, kept)


def written(directory, count, seed=0):
    writer = writer_to(directory)
    writer.add(rows(count), embeddings(count, seed))
    writer.close()
    return EmbeddingIndex(directory)


def state(directory):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size)
            for path in directory.iterdir()}  # fmt: skip


def test_what_is_not_committed_changes_nothing(tmp_path):
    values = embeddings(5)
    written(tmp_path, 5)
    killed = writer_to(tmp_path)
    killed.add(rows(5), values)
    killed.add(rows(2, start=5), embeddings(2, seed=1))
    assert len(EmbeddingIndex(tmp_path).rows) == 5
    killed.commit()
    killed.add(rows(2, start=7), embeddings(2, seed=2))
    index = EmbeddingIndex(tmp_path)
    assert len(index.rows) == 7
    np.testing.assert_array_equal(index.embeddings[:5], values)
    again = written(tmp_path, 5)
    assert len(again.rows) == 5 and len(list(tmp_path.glob("*.f32"))) == 1


def test_index_that_is_as_it_should_be_is_left_alone(tmp_path):
    old, before = written(tmp_path, 5), state(tmp_path)
    writer = writer_to(tmp_path, old, range(5))
    writer.commit()
    writer.close()
    assert state(tmp_path) == before


def test_new_name_of_the_model_is_written_and_the_embeddings_are_left_alone(tmp_path):
    old, before = written(tmp_path, 5), state(tmp_path)
    writer_to(tmp_path, old, range(5), model="moved").close()
    assert EmbeddingIndex(tmp_path).model == "moved"
    after = state(tmp_path)
    assert after.pop(INDEX_FILE) != before.pop(INDEX_FILE)
    assert {name: (node, size) for name, (node, _, size) in after.items()} == {
        name: (node, size) for name, (node, _, size) in before.items()
    }


def test_new_rows_are_appended_behind_what_was_committed(tmp_path):
    old = written(tmp_path, 5)
    killed = writer_to(tmp_path, old, range(5))
    killed.add(rows(3, start=5), embeddings(3, seed=1))
    assert len(EmbeddingIndex(tmp_path).rows) == 5
    writer = writer_to(tmp_path, old, range(5))
    writer.add(rows(2, start=5), embeddings(2, seed=2))
    writer.close()
    index = EmbeddingIndex(tmp_path)
    assert index.data == old.data and index.rows == rows(7)
    np.testing.assert_array_equal(index.embeddings, [*embeddings(5), *embeddings(2, seed=2)])


def test_dropped_rows_go_and_the_others_keep_their_embeddings(tmp_path):
    old = written(tmp_path, 5)
    writer_to(tmp_path, old, [0, 3]).close()
    index = EmbeddingIndex(tmp_path)
    assert index.rows == [old.rows[0], old.rows[3]] and index.data != old.data
    np.testing.assert_array_equal(index.embeddings, embeddings(5)[[0, 3]])
    assert len(list(tmp_path.glob("*.f32"))) == 1


def test_full_disk_is_one_line_and_what_fits_is_kept(tmp_path):
    row_bytes = WIDTH * 4
    with files_of_at_most(20 * row_bytes + 100), pytest.raises(InvalidInputError) as caught:
        writer = writer_to(tmp_path)
        try:
            for row in range(30):
                writer.add(rows(1, start=row), embeddings(1, seed=row))
        finally:
            writer.close()
    assert "cannot be written: File too large" in str(caught.value)
    index = EmbeddingIndex(tmp_path)
    assert index.rows == rows(20)
    np.testing.assert_array_equal(index.embeddings[19], embeddings(1, seed=19)[0])


def test_last_rows_make_room_for_the_description_of_the_others(tmp_path, monkeypatch):
    """Of a disk of 40 blocks."""

    def replace(fresh, place):
        blocks = sum(-(-path.stat().st_size // 4096) for path in tmp_path.iterdir())
        if blocks > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(fresh, place)

    original = os.replace
    monkeypatch.setattr(os, "replace", replace)
    writer = writer_to(tmp_path)
    writer.add(rows(160), embeddings(160))
    with pytest.raises(InvalidInputError, match="No space left"):
        writer.close()
    index = EmbeddingIndex(tmp_path)
    assert 145 < len(index.rows) < 160 and index.rows == rows(len(index.rows))
    assert not list(tmp_path.glob("*.new"))


def test_interrupt_while_old_rows_are_copied_leaves_the_old_index(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    old, before = written(tmp_path, 5), state(tmp_path)
    writer = writer_to(tmp_path, old, [0, 2, 3])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(IndexWriter, "_write", interrupt)
        writer.add(rows(1, start=5), embeddings(1))
    writer.close()
    assert state(tmp_path) == before


@pytest.mark.parametrize("kept", [[0, 2, 3], range(5)], ids=str)
def test_full_disk_leaves_the_old_index_where_nothing_new_fits(tmp_path, kept):
    old = written(tmp_path, 5)
    before = json.loads((tmp_path / INDEX_FILE).read_text())
    with files_of_at_most(200), pytest.raises(InvalidInputError, match="cannot be written"):
        writer = writer_to(tmp_path, old, kept)
        try:
            writer.add(rows(1, start=5), embeddings(1))
        finally:
            writer.close()
    assert json.loads((tmp_path / INDEX_FILE).read_text()) == before
    np.testing.assert_array_equal(EmbeddingIndex(tmp_path).embeddings, embeddings(5))
    assert set(os.listdir(tmp_path)) == {INDEX_FILE, old.data.name}
    assert old.data.stat().st_size == 5 * WIDTH * 4


def test_index_that_cannot_be_written_matters_only_if_something_must_be(tmp_path, monkeypatch):
    old = written(tmp_path, 5)
    monkeypatch.setattr(index_writer, "open", refuse_to_write, raising=False)
    writer_to(tmp_path, old, range(5)).close()
    with pytest.raises(InvalidInputError, match="cannot be written: Permission denied"):
        writer_to(tmp_path, old, range(5)).add(rows(1, start=5), embeddings(1))
