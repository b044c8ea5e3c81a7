"""A directory of image embeddings: what `coca index` writes and `coca search` reads.

    index.json           what the rows are, and which model they are of
    embeddings-*.f32     their (N, E) float32 values, row by row
    lock                 held by the one process that writes

`index.json` is replaced in one step and names a file that holds all of its rows, and may hold more,
so that a kill at any moment leaves an index that can be read. `IndexWriter` writes it.

Shapes: N images, E embedding width.
"""

import json
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from official_coca.errors import InvalidInputError

INDEX_FILE = "index.json"
DIRECTORY_NAME = "coca_index"  # within the directory of the images, unless told otherwise
FORMAT = 1
_DATA_NAME = r"embeddings-[0-9a-f]+\.f32"
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
        data: the file of the embeddings.
        embeddings: (N, E) float32, length one each.
    """

    def __init__(self, directory):
        self.directory = _index_directory(directory)
        path = self.directory / INDEX_FILE
        try:
            content = json.loads(_read(path))
            if content["format"] != FORMAT:
                raise InvalidInputError(
                    f"{path} has format {content['format']}, this version reads {FORMAT}; run "
                    f"coca index again with another --output"
                )
            _check_kinds(content)
            self.model = content["model"]
            self.fingerprint = content["fingerprint"]
            self.images = os.path.normpath(self.directory / content["images"])
            self.rows = [Row(*row) for row in content["rows"]]
            _check_rows(self.rows)
            self.data = self.directory / content["data"]
            self.embeddings = _map_embeddings(self.data, (len(self.rows), content["width"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
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
        try:
            if (place / INDEX_FILE).is_file():
                return place
        except OSError as error:
            raise _cannot_read(place / INDEX_FILE, error) from None
    raise InvalidInputError(f"{directory} holds no index; make one with coca index DIR")


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _cannot_read(path, error) from None


def _cannot_read(path, error):
    """No word of deleting: the index may be as good as ever."""
    return InvalidInputError(
        f"{path} cannot be read: {error.strerror}; make it readable, or name another index"
    )


def _check_kinds(content):
    """Raises `ValueError` where a value is not of its kind."""
    for key in ("model", "fingerprint", "images", "data"):
        if not isinstance(content[key], str):
            raise ValueError(f"{key} is {content[key]!r}")
    if not re.fullmatch(_DATA_NAME, content["data"]):  # the file is written to, too
        raise ValueError(f"data is {content['data']!r}")
    if type(content["width"]) is not int or content["width"] < bool(content["rows"]):
        raise ValueError(f"width is {content['width']!r}")


def _check_rows(rows):
    for number, row in enumerate(rows):
        if not isinstance(row.path, str):
            raise ValueError(f"row {number} has the path {row.path!r}")


def _map_embeddings(path, shape):
    needed = shape[0] * shape[1] * 4
    try:
        if path.stat().st_size < needed:
            raise ValueError(f"{path.name} has fewer than {needed} bytes")
        if not needed:
            return np.zeros(shape, "float32")  # nothing cannot be mapped
        return np.memmap(path, "float32", "r", shape=shape)
    except FileNotFoundError:
        raise ValueError(f"{path.name} is not there") from None
    except OSError as error:
        raise _cannot_read(path, error) from None
