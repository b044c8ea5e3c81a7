"""Behaviour of the schema and of the shard writer."""

import pytest
import tensorflow as tf

from official_coca.dataloaders.example_schema import (
    make_example,
    parse_example,
    parse_examples,
    shard_name,
)
from official_coca.dataloaders.shard_writer import ShardWriter
from official_coca.errors import InvalidInputError


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def write(directory, texts, shards):
    with ShardWriter(directory, "web", "train", shards) as writer:
        for text in texts:
            writer.write(make_example(b"picture", text, "web"))
    return writer


def test_example_survives_writing_and_parsing():
    written = [make_example(b"\x00\xff", ["größe", "b"], "web"), make_example(b"p", "a", "web")]
    serialized = [example.SerializeToString() for example in written]
    single = parse_example(serialized[0])
    assert single["image"].numpy() == b"\x00\xff" and single["source"].numpy() == b"web"
    assert [text.decode() for text in single["texts"].numpy()] == ["größe", "b"]
    both = parse_examples(serialized)
    assert both["texts"].to_list() == [["größe".encode(), b"b"], [b"a"]]


def test_example_without_text_parses_to_no_texts():
    parsed = parse_example(make_example(b"p", [], "web").SerializeToString())
    assert parsed["texts"].shape == (0,)


def test_examples_are_dealt_out_in_turn(tmp_path):
    writer = write(tmp_path, "abcde", shards=2)
    assert writer.num_examples == 5
    assert names(tmp_path) == [shard_name("web", "train", i, 2) for i in range(2)]
    texts = [
        [parse_example(record)["texts"].numpy()[0] for record in tf.data.TFRecordDataset(str(path))]
        for path in writer.paths
    ]
    assert texts == [[b"a", b"c", b"e"], [b"b", b"d"]]


def test_interrupted_build_leaves_nothing_new_and_the_old_shards_as_they_were(tmp_path):
    writer = write(tmp_path, "abc", shards=1)
    before = writer.paths[0].read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with ShardWriter(tmp_path, "web", "train", 2) as writer:
            writer.write(make_example(b"p", "x", "web"))
            raise KeyboardInterrupt
    assert names(tmp_path) == ["web-train-00000-of-00001.tfrecord"]
    assert (tmp_path / names(tmp_path)[0]).read_bytes() == before


def test_new_build_removes_shards_of_the_old_one_but_of_no_other(tmp_path):
    write(tmp_path, "abc", shards=3)
    (tmp_path / "web-training-00000-of-00001.tfrecord").touch()
    write(tmp_path, "abc", shards=1)
    assert names(tmp_path) == [
        "web-train-00000-of-00001.tfrecord",
        "web-training-00000-of-00001.tfrecord",
    ]


@pytest.mark.parametrize("name, shards", [("web", 0), ("a/b", 1), ("", 1)])
def test_bad_name_or_number_is_refused(tmp_path, name, shards):
    with pytest.raises(InvalidInputError):
        ShardWriter(tmp_path, name, "train", shards)
