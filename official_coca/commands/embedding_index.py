"""A directory of image embeddings: what `coca index` writes and `coca search` reads.

    index.json           what the rows are, and which model they are of
    embeddings-*.f32     their (N, E) float32 values, row by row
    lock                 held by the one process that writes

`index.json` is replaced in one step and names a file that holds all of its rows, so that a kill
at any moment leaves an index that can be read.

Shapes: N images, E embedding width.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
from typing import NamedTuple

import numpy as np

from official_coca.errors import InvalidInputError

INDEX_FILE = "index.json"
DIRECTORY_NAME = "coca_index"  # within the directory of the images, unless told otherwise
_LOCK_FILE = "lock"
_DATA_PATTERN = "embeddings-*.f32"
_FORMAT = 1
_CHUNK_ROWS = 65_536  # 128 MiB of embeddings that are 512 wide


class Row(NamedTuple):
    """An image as it was when it was embedded; its path is relative to the indexed directory."""

    path: str
    size: int
    modified: int


class EmbeddingIndex:
    """The rows and embeddings of an index on disk; the embeddings stay there until they are read.

    Attributes:
        model: handle of the model that embedded the images.
        fingerprint: `fingerprint(model)` of it.
        images: the indexed directory.
        rows: N `Row`s.
        embeddings: (N, E) float32, length one each.
    """

    def __init__(self, directory):
        self.directory = _index_directory(directory)
        path = self.directory / INDEX_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise InvalidInputError(
                    f"{path} has format {content['format']}, this version reads {_FORMAT}; run "
                    f"coca index again with another --output"
                )
            self.model = content["model"]
            self.fingerprint = content["fingerprint"]
            self.images = os.path.normpath(self.directory / content["images"])
            self.rows = [Row(*row) for row in content["rows"]]
            data = self.directory / content["data"]
            shape = (len(self.rows), content["width"])
            self.embeddings = _map_embeddings(data, shape)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"{path} is damaged ({' '.join(str(error).split())}); delete {self.directory} and "
                "run coca index again"
            ) from None

    def path(self, row):
        """The path of the image in a row."""
        return os.path.join(self.images, self.rows[row].path)

    def nearest(self, query, count):
        """Returns the `count` best (row, similarity), best first; of equal ones the lower row.

        Args:
            query: (E,) float32 of length one.
            count: rows at most.
        """
        if not self.rows:
            return []
        if query.shape != self.embeddings.shape[1:]:
            raise InvalidInputError(
                f"the index {self.directory} has embeddings {self.embeddings.shape[1]} wide, the "
                f"query's is {query.shape[0]}; search with the model {self.model} of the index"
            )
        best_rows = np.zeros(0, np.int64)
        best_scores = np.zeros(0, np.float32)
        for start in range(0, len(self.rows), _CHUNK_ROWS):
            scores = self.embeddings[start : start + _CHUNK_ROWS] @ query
            scores = np.concatenate([best_scores, scores])
            end = start + len(scores) - len(best_rows)
            rows = np.concatenate([best_rows, np.arange(start, end)])
            if len(scores) > count:
                # Everything as good as the last place stays, so that ties go by row.
                limit = np.partition(scores, -count)[-count]
                rows, scores = rows[scores >= limit], scores[scores >= limit]
            order = np.argsort(-scores, kind="stable")[:count]
            best_rows, best_scores = rows[order], scores[order]
        return [(int(row), float(score)) for row, score in zip(best_rows, best_scores)]


class IndexWriter:
    """Writes an index row by row; what is committed is safe.

    Args:
        directory: of the index; it exists.
        model: handle of the model.
        model_fingerprint: its `fingerprint`.
        images: the indexed directory.
    """

    def __init__(self, directory, model, model_fingerprint, images):
        self._directory = pathlib.Path(directory)
        self._data = self._directory / f"embeddings-{secrets.token_hex(4)}.f32"
        self._rows = []
        self._content = {
            "format": _FORMAT,
            "model": model,
            "fingerprint": model_fingerprint,
            "images": _portable(images, self._directory),
            "data": self._data.name,
            "width": 0,
        }
        self._stream = open(self._data, "wb")

    def add(self, rows, embeddings):
        """Appends rows and their embeddings (n, E)."""
        embeddings = np.ascontiguousarray(embeddings, "float32")
        self._content["width"] = embeddings.shape[1]
        self._stream.write(embeddings.tobytes())
        self._rows.extend(rows)

    def commit(self):
        """Makes everything that was added the content of the index."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        fresh = self._directory / f"{INDEX_FILE}.new"
        with open(fresh, "w", encoding="utf-8") as stream:
            json.dump({**self._content, "rows": self._rows}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, self._directory / INDEX_FILE)

    def close(self):
        """Commits, and deletes the embeddings of earlier times."""
        self.commit()
        self._stream.close()
        for path in self._directory.glob(_DATA_PATTERN):
            if path != self._data:
                path.unlink()


@contextlib.contextmanager
def writing_lock(directory, flag="--output"):
    """Keeps others from writing the index at the same time; a kill frees it.

    Where the context ends by an exception before anything is written, nothing is left behind.

    Args:
        directory: of the index; it is made.
        flag: that names the directory, for messages.

    Raises:
        InvalidInputError: another process writes, or the directory holds something else.
    """
    directory = pathlib.Path(directory)
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in directory.iterdir()}
        if names and INDEX_FILE not in names and _LOCK_FILE not in names:
            raise InvalidInputError(
                f"{flag}={directory} is a directory with other files; name a new one"
            )
        stream = open(directory / _LOCK_FILE, "w")
    except OSError as error:
        raise InvalidInputError(
            f"the index {directory} cannot be written: {error.strerror}; name another place with "
            f"{flag}"
        ) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(
                f"another coca index or coca demo is writing {directory}; wait until it is done, "
                f"or name another place with {flag}"
            ) from None
        try:
            yield
        except BaseException:
            _remove_unused(directory, is_new)
            raise


def _remove_unused(directory, is_new):
    """Removes the lock, and the directory if it is new, where there is nothing else."""
    with contextlib.suppress(OSError):  # it may be gone; what ended the context is what matters
        if [path.name for path in directory.iterdir()] == [_LOCK_FILE]:
            (directory / _LOCK_FILE).unlink()
            if is_new:
                directory.rmdir()


def fingerprint(model):
    """A short text that differs between models whose image embeddings differ."""
    import hashlib

    from keras import ops

    converter = model.preprocessor.image_converter.get_config()
    digest = hashlib.sha256(json.dumps(converter, sort_keys=True).encode())
    for weight in model.weights:
        values = ops.convert_to_numpy(weight).ravel()
        digest.update(str(weight.shape).encode())
        # Training moves every value, so some thousands of each weight tell two models apart.
        sample = values[:: max(1, len(values) // 4096)].astype("float32")
        digest.update(sample.tobytes())
    return digest.hexdigest()[:16]


def _index_directory(directory):
    """The index itself, where the directory of its images is given too."""
    directory = pathlib.Path(directory)
    for place in (directory, directory / DIRECTORY_NAME):
        if (place / INDEX_FILE).is_file():
            return place
    raise InvalidInputError(f"{directory} holds no index; make one with coca index DIR")


def _map_embeddings(path, shape):
    needed = shape[0] * shape[1] * 4
    if path.stat().st_size < needed:
        raise ValueError(f"{path.name} has fewer than {needed} bytes")
    if not needed:
        return np.zeros(shape, "float32")  # nothing cannot be mapped
    return np.memmap(path, "float32", "r", shape=shape)


def _portable(images, directory):
    """The path of the images from the index, if it lies among them, so that both can move."""
    images, directory = os.path.abspath(images), os.path.abspath(directory)
    if os.path.commonpath([images, directory]) == images:
        return os.path.relpath(images, directory)
    return images
