"""Writes the index that `EmbeddingIndex` reads.

Shapes: E embedding width.
"""

import contextlib
import json
import os
import pathlib
import secrets

import numpy as np

from official_coca.commands.embedding_index import FORMAT, INDEX_FILE
from official_coca.errors import InvalidInputError

_DATA_PATTERN = "embeddings-*.f32"
_CHUNK_ROWS = 65_536
_BLOCK_BYTES = 4096  # of a disk


class IndexWriter:
    """Writes an index row by row; what is committed is safe.

    Nothing is written before it must be, and nothing at all where the index is as it should be. New
    rows are appended to the file of the old ones, unless some of those are dropped.

    Its methods raise an `InvalidInputError` where the index cannot be written.

    Args:
        directory: of the index; it exists.
        model: handle of the model.
        model_fingerprint: its `fingerprint`.
        images: the indexed directory.
        old: the `EmbeddingIndex` that is there, or None.
        kept: numbers of its rows to begin with, ascending.
    """

    def __init__(self, directory, model, model_fingerprint, images, old=None, kept=()):
        self._directory = pathlib.Path(directory)
        self._images = images
        self._old = old
        self._kept = kept
        self._rows = [old.rows[number] for number in kept]
        self._content = {
            "format": FORMAT,
            "model": model,
            "fingerprint": model_fingerprint,
            "images": _portable(images, self._directory),
            "width": old.embeddings.shape[1] if kept else 0,
        }
        self._num_safe = len(kept)  # rows that making room must not take
        self._data = None
        self._stream = None
        self._is_committed = False
        self._is_given_up = False

    def add(self, rows, embeddings):
        """Appends rows and their embeddings (n, E)."""
        embeddings = np.ascontiguousarray(embeddings, "float32")
        self._content["width"] = embeddings.shape[1]
        with self._telling():
            self._begin()
            self._write(embeddings)
        self._rows.extend(rows)

    def commit(self):
        """Makes everything that was added the content of the index."""
        if self._stream is None:
            return
        with self._telling():
            os.fsync(self._stream.fileno())
            self._write_description()
        self._num_safe = len(self._rows)
        self._is_committed = True

    def close(self):
        """Commits, and deletes the embeddings of earlier times.

        Where that fails for want of room, what fits is kept.
        """
        if self._stream is None and (self._is_given_up or self._is_there_already()):
            return
        try:
            with self._telling():
                self._begin()
            self.commit()
        except InvalidInputError:
            self._make_room()
            raise
        finally:
            self._end()

    def _is_there_already(self):
        old = self._old
        return (
            self._keeps_all()
            and old.model == self._content["model"]
            and old.fingerprint == self._content["fingerprint"]
            and os.path.abspath(old.images) == os.path.abspath(self._images)
        )

    def _keeps_all(self):
        return self._old is not None and len(self._kept) == len(self._old.rows)

    def _begin(self):
        """Opens the file of the embeddings, with those that are kept, unless it is open."""
        if self._stream is not None:
            return
        if self._keeps_all():
            self._data = self._old.data
            self._stream = open(self._data, "r+b", buffering=0)
            # A run that was killed may have left more behind them.
            self._stream.seek(self._stream.truncate(len(self._rows) * self._row_bytes()))
            return
        self._data = self._directory / f"embeddings-{secrets.token_hex(4)}.f32"
        stream = self._stream = open(self._data, "wb", buffering=0)
        try:
            for start in range(0, len(self._kept), _CHUNK_ROWS):
                self._write(self._old.embeddings[self._kept[start : start + _CHUNK_ROWS]])
        except BaseException:  # Ctrl-C too: copying gigabytes takes a while
            # Half of the old rows are worth less than the old index.
            self._stream, self._is_given_up = None, True
            stream.close()
            self._data.unlink()
            raise

    def _write(self, embeddings):
        rest = memoryview(embeddings).cast("B")
        while rest:
            rest = rest[self._stream.write(rest) :]

    def _row_bytes(self):
        return self._content["width"] * 4

    def _write_description(self):
        fresh = self._directory / f"{INDEX_FILE}.new"
        try:
            with open(fresh, "w", encoding="utf-8") as stream:
                stream.write(self._description())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, self._directory / INDEX_FILE)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def _description(self):
        return json.dumps({**self._content, "data": self._data.name, "rows": self._rows})

    def _make_room(self):
        """Gives up the last rows, as many as the description needs room, and commits the rest."""
        if self._stream is None or not self._rows:
            return
        needed = len(self._description()) + _BLOCK_BYTES
        num_rows = len(self._rows) - -(-needed // self._row_bytes())
        if num_rows > self._num_safe:
            del self._rows[num_rows:]
            with contextlib.suppress(InvalidInputError, OSError):
                self._stream.truncate(num_rows * self._row_bytes())
                self.commit()

    def _end(self):
        """Closes the file of the embeddings and deletes what the index does not name."""
        if self._stream is None:
            return
        self._stream.truncate(self._num_safe * self._row_bytes())
        self._stream.close()
        if self._is_committed:
            for path in self._directory.glob(_DATA_PATTERN):
                if path != self._data:
                    path.unlink()
        elif self._old is None or self._data != self._old.data:
            self._data.unlink()

    @contextlib.contextmanager
    def _telling(self):
        try:
            yield
        except OSError as error:
            raise InvalidInputError(
                f"the index {self._directory} cannot be written: {error.strerror}; put that right "
                "and run the command again, which goes on from what is kept"
            ) from None


def _portable(images, directory):
    """The path of the images from the index, if it lies among them, so that both can move."""
    images, directory = os.path.abspath(images), os.path.abspath(directory)
    if os.path.commonpath([images, directory]) == images:
        return os.path.relpath(images, directory)
    return images
