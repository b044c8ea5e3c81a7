"""The vocabulary trainer: fixed special ids, all inputs, equal output, clear refusals."""

import itertools
import json
import re

import pytest
import sentencepiece
import tensorflow as tf

from data.train_sentencepiece import main, read_texts, train_sentencepiece
from official_coca.preprocessing.tokenizer import SentencePieceTokenizer

WORDS = "a the red blue green three seven cat dog photo of left right above".split()
SENTENCES = [" ".join(words) for words in itertools.permutations(WORDS, 2)]


def run(*arguments, output, size=36):
    return main([*arguments, f"--output={output}", f"--vocabulary_size={size}"])


def test_model_has_the_special_ids_and_trains_the_same_twice(tmp_path):
    first = train_sentencepiece(SENTENCES, tmp_path / "new" / "a.model", 36)
    second = train_sentencepiece(iter(SENTENCES), tmp_path / "b.model", 36)
    assert first == second == (tmp_path / "new" / "a.model").read_bytes()
    tokenizer = SentencePieceTokenizer(tmp_path / "b.model")
    ids = (tokenizer.pad_token_id, tokenizer.unk_token_id)
    assert (*ids, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2, 3)
    assert tokenizer.vocabulary_size == 36
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_defaults_are_those_of_the_paper(tmp_path, capsys):
    path = tmp_path / "in.txt"
    path.write_text("\n".join(SENTENCES))
    assert main([f"--input_files={path}", f"--output={tmp_path / 'x.model'}"]) == 2
    assert "vocabulary_size=64000 is too large" in capsys.readouterr().err


def test_largest_possible_size_is_stated_and_works(tmp_path, capsys):
    path = tmp_path / "in.txt"
    path.write_text("\n".join(SENTENCES))
    for model_type in ("unigram", "bpe"):
        arguments = (f"--input_files={path}", f"--model_type={model_type}")
        output = tmp_path / "x.model"
        assert run(*arguments, output=output, size=5000) == 2
        assert not output.exists()
        message = capsys.readouterr().err
        assert message.startswith("error: ") and message.count("\n") == 1
        largest = int(message.split("largest possible is ")[1].split(":")[0])
        assert run(*arguments, output=output, size=largest) == 0
        vocabulary = sentencepiece.SentencePieceProcessor(model_file=str(output))
        assert vocabulary.get_piece_size() == largest
        output.unlink()
        capsys.readouterr()


def test_every_kind_of_input_gives_the_cleaned_texts(tmp_path):
    texts = ["a red cat", "Tom &amp; Jerry<br>", "blue\u00a0dog"]
    clean = ["a red cat", "Tom & Jerry", "blue dog"]
    (tmp_path / "a.txt").write_text("\n".join(texts), encoding="utf-8")
    records = [{"image": "1.jpg", "captions": texts[:2]}, {"image": "2.jpg", "captions": texts[2]}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    rows = ["image\tcaptions", *(f"{i}.jpg\t{text}" for i, text in enumerate(texts))]
    (tmp_path / "c.tsv").write_text("\n".join(rows), encoding="utf-8")
    feature = tf.train.Feature(
        bytes_list=tf.train.BytesList(value=[text.encode() for text in texts])
    )
    example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
    shard = str(tmp_path / "d-train-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(shard) as writer:
        writer.write(example.SerializeToString())
    for path in sorted(map(str, tmp_path.iterdir())):
        assert list(read_texts([path], "captions")) == clean, path


def test_sample_is_bounded_and_the_same_each_time(tmp_path):
    few = train_sentencepiece(SENTENCES, tmp_path / "a.model", 30, input_sentence_size=60)
    again = train_sentencepiece(SENTENCES, tmp_path / "b.model", 30, input_sentence_size=60)
    other = train_sentencepiece(SENTENCES, tmp_path / "c.model", 30, input_sentence_size=60, seed=1)
    everything = train_sentencepiece(SENTENCES, tmp_path / "d.model", 30)
    assert few == again
    assert len({few, other, everything}) == 3


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.csv", "x", "unknown kind"),
        ("a.txt", "\n\n", "holds no text"),
        ("a.jsonl", '{"image": "1.jpg"}', "line 1 has no text field 'caption'.*image"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", '["x"]', "line 1 is not a JSON object"),
        ("a.jsonl", '{"caption": 5}', "field 'caption' is not text"),
        ("a.tsv", "image\ttext\n1.jpg\tcat", "choose --text_field from: image, text"),
        ("a.tfrecord", "not a shard at all", "not a TFRecord"),
        ("a.txt", b"\xff\xfe\xff", "not UTF-8"),
    ],
)
def test_wrong_input_is_refused_in_one_line(tmp_path, capfd, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(f"--input_files={path}", output=tmp_path / "x.model") == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(words, errors[0])


def test_missing_input_and_output_are_named(tmp_path, capsys):
    output = tmp_path / "x.model"
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES))
    (tmp_path / "file").touch()
    cases = [
        ([f"--input_files={tmp_path / 'absent.txt'}"], output, "absent.txt' does not exist"),
        ([f"--input_pattern={tmp_path}/*.jsonl"], output, "no file matches --input_pattern"),
        ([], output, "give --input_files or --input_pattern"),
        ([f"--input_pattern={tmp_path}/*.txt"], tmp_path / "file" / "x.model", "cannot be written"),
    ]
    for arguments, path, words in cases:
        assert run(*arguments, output=path) == 2
        assert words in capsys.readouterr().err
    for size in (3, 10):
        assert run(f"--input_pattern={tmp_path}/*.txt", output=output, size=size) == 2
        assert f"vocabulary_size={size} is too small" in capsys.readouterr().err
