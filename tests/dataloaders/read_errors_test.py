"""Damaged shards give one line that names the file."""

import pytest
import tensorflow as tf

from official_coca.dataloaders.pipeline import training_dataset
from official_coca.dataloaders.read_errors import explained_read_errors
from official_coca.errors import InvalidInputError


def read_everything(shards, source):
    dataset = training_dataset(
        [source], shards.preprocessor, shards.augmentation, batch_size=8, seed=1
    )
    for _ in dataset.take(20):
        pass


def test_cut_off_shard_is_named(shards):
    source = shards.source("web", range(100), shards=2)
    path = shards.directory / "web-train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidInputError) as caught, explained_read_errors([source]):
        read_everything(shards, source)
    message = str(caught.value)
    assert str(path) in message and "'web'" in message and "after record 49" in message
    assert "\n" not in message


def test_file_that_is_no_shard_is_named_when_the_dataset_is_made(shards):
    source = shards.source("web", range(4), shards=1)
    path = shards.directory / "web-train-00000-of-00001.tfrecord"
    path.write_text("image\tlabel\n" * 20)
    with pytest.raises(InvalidInputError, match=f"{path}.*after record 0"):
        read_everything(shards, source)


def test_records_of_another_schema_are_explained(shards):
    source = shards.source("web", range(4), shards=1)
    path = shards.directory / "web-train-00000-of-00001.tfrecord"
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[3]))
    example = tf.train.Example(features=tf.train.Features(feature={"text": label}))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(InvalidInputError, match="not a tf.train.Example"):
        read_everything(shards, source)


def test_other_errors_pass(shards):
    with pytest.raises(tf.errors.InvalidArgumentError), explained_read_errors([]):
        tf.debugging.Assert(False, ["something"])
