"""Turns TensorFlow's errors of reading shards into one line that names the file."""

import contextlib

import tensorflow as tf

from official_coca.errors import InvalidInputError

NO_IMAGE_MESSAGE = "no image of a whole batch can be decoded"


@contextlib.contextmanager
def explained_read_errors(sources):
    """Raises `InvalidInputError` instead of TensorFlow's errors for damaged shards.

    Put it around whatever iterates over a dataset of the sources, such as `model.fit`.

    Args:
        sources: sequence of `Source`; their files are searched for the damage.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        raise InvalidInputError(_damaged_file_message(sources, error)) from error
    except tf.errors.InvalidArgumentError as error:
        if NO_IMAGE_MESSAGE in str(error):
            names = ", ".join(source.name for source in sources)
            raise InvalidInputError(
                f"{NO_IMAGE_MESSAGE} (sources: {names}); make the shards anew with "
                "data/make_shards.py --drop_bad"
            ) from error
        if "ParseExample" in str(error):
            patterns = ", ".join(repr(source.pattern) for source in sources)
            raise InvalidInputError(
                f"a record in {patterns} is not a tf.train.Example with 'image/encoded', 'text' "
                "and 'source'; make the shards with data/make_shards.py"
            ) from error
        raise


def _damaged_file_message(sources, error):
    for source in sources:
        for path in source.files():
            records = 0
            try:
                for _ in tf.data.TFRecordDataset(path, buffer_size=1 << 20):
                    records += 1
            except tf.errors.DataLossError:
                return (
                    f"shard {path!r} of source {source.name!r} is cut off or damaged after record "
                    f"{records}; copy it again or make the source's shards anew"
                )
    return f"a shard was damaged when it was read, but is whole now: {error.message}"
