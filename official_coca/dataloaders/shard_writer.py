"""Writes the shards of one source and split, all of them or none."""

import pathlib

import tensorflow as tf

from official_coca.dataloaders.example_schema import shard_name, shard_name_pattern
from official_coca.errors import InvalidInputError


class ShardWriter:
    """Deals examples out to shards in turn; the shards get their names only on success.

    Until the `with` block ends well, everything is in `*.partial` files, so that an interrupted
    build leaves no half-written shard behind a good name. Older shards of the same name and split
    with another shard count are removed then, or a pattern would read both builds.

    Args:
        output_dir: folder, made when absent.
        name: name of the source.
        split: name of the split, such as `"train"`.
        shards: number of shards.

    Example:

    ```python
    with ShardWriter("shards", "pets", "train", shards=4) as writer:
        writer.write(make_example(encoded_image, ["a grey cat"], "pets"))
    ```
    """

    def __init__(self, output_dir, name, split, shards):
        if shards < 1:
            raise InvalidInputError(f"the number of shards is {shards}; it must be at least 1")
        for value in (name, split):
            if not value or "/" in value:
                raise InvalidInputError(
                    f"{value!r} cannot be part of a shard's name; use letters, digits and '_'"
                )
        self.output_dir = pathlib.Path(output_dir)
        self.name = name
        self.split = split
        self.num_examples = 0
        self.paths = [
            self.output_dir / shard_name(name, split, index, shards) for index in range(shards)
        ]
        self._writers = []

    def __enter__(self):
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self._writers = [tf.io.TFRecordWriter(str(_partial(path))) for path in self.paths]
        return self

    def write(self, example):
        """Writes one `tf.train.Example` to the next shard in turn."""
        writer = self._writers[self.num_examples % len(self._writers)]
        writer.write(example.SerializeToString(deterministic=True))
        self.num_examples += 1

    def __exit__(self, exception_type, exception, traceback):
        for writer in self._writers:
            writer.close()
        if exception_type is not None:
            for path in self.paths:
                _partial(path).unlink(missing_ok=True)
            return
        pattern = shard_name_pattern(self.name, self.split)
        for old in self.output_dir.iterdir():
            if pattern.fullmatch(old.name) and old not in self.paths:
                old.unlink()
        for path in self.paths:
            _partial(path).replace(path)


def _partial(path):
    return path.with_name(path.name + ".partial")
