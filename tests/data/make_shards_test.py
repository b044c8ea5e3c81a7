"""Behaviour of the builder of shards, from a person's files to records."""

import io
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import make_shards
from official_coca.dataloaders.example_schema import parse_example
from official_coca.program import run_program
from tests.shared_data import shared_data_directory


def picture(value, picture_format="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 7, 3), value, np.uint8)).save(buffer, picture_format)
    return buffer.getvalue()


def write_zip(path, pictures):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(directory, *flags, source="web"):
    return run_program(
        make_shards.main,
        [*map(str, flags), f"--source={source}", "--split=train", f"--output_dir={directory}"],
    )


def read(directory, source="web"):
    """Returns `(image, texts, source)` of every record of the source."""
    files = sorted(tf.io.gfile.glob(f"{directory}/{source}-train-*.tfrecord"))
    examples = map(parse_example, tf.data.TFRecordDataset(files))
    return [
        (
            example["image"].numpy(),
            [text.decode() for text in example["texts"].numpy()],
            example["source"].numpy().decode(),
        )
        for example in examples
    ]


def test_zip_with_jsonl_of_one_or_several_captions(tmp_path, capsys):
    pictures = {f"{n}.jpg": picture(n) for n in range(4)}
    archive = write_zip(tmp_path / "images.zip", pictures)
    captions = ["a cat", ["a dog", " ", "a hound"], "  ", ["größer"]]
    rows = [{"image": f"{n}.jpg", "caption": captions[n]} for n in range(4)]
    index = write_jsonl(tmp_path / "index.jsonl", rows)
    out = tmp_path / "out"
    flags = [f"--input={archive}", f"--index={index}", "--text_field", "caption", "--shards=2"]
    assert build(out, *flags) == 0
    assert sorted(read(out)) == sorted(
        [
            (pictures["0.jpg"], ["a cat"], "web"),
            (pictures["1.jpg"], ["a dog", "a hound"], "web"),
            (pictures["3.jpg"], ["größer"], "web"),
        ]
    )
    assert json.loads((out / "web-train.json").read_text()) == {
        "source": "web", "split": "train", "shards": 2, "rows": 4, "examples": 3, "texts": 4,
        "without_text": 1, "bad_images": 0,
    }  # fmt: skip
    rejected = (out / "web-train.rejected.tsv").read_text().splitlines()
    assert rejected == ["row\timage\treason", "row 3 of index.jsonl\t2.jpg\tno text"]
    assert "3 examples with 4 texts in 2 shard(s)" in capsys.readouterr().out


def labelled_folder(tmp_path, labels):
    folder = tmp_path / "images"
    folder.mkdir()
    lines = ["image\tlabel_id\tnote"]
    for number, label in enumerate(labels):
        (folder / f"{number}.png").write_bytes(picture(number, "PNG"))
        lines.append(f'{number}.png\t{label}\ta "note"')
    index = tmp_path / "index.tsv"
    index.write_text("\n".join(lines) + "\n")
    names = tmp_path / "classes.txt"
    names.write_text("cat\nhouse cat\n\n")
    return [f"--input={folder}", f"--index={index}", "--label_field=label_id"], names


def test_folder_with_tsv_of_label_numbers(tmp_path):
    flags, names = labelled_folder(tmp_path, [1, 0, 1])
    assert build(tmp_path / "out", *flags, f"--class_names={names}") == 0
    texts = [texts for _, texts, _ in read(tmp_path / "out")]
    assert texts == [["house cat"], ["cat"], ["house cat"]]


@pytest.mark.parametrize(
    "label, with_names, words",
    [
        (2, True, ["label index 2", "row 2 of index.tsv", "2 class names"]),
        (-1, True, ["label index -1", "row 2 of index.tsv"]),
        ("tiger", True, ["'tiger'", "row 2 of index.tsv"]),
        (1, False, ["label 0", "row 1 of index.tsv", "--class_names"]),
    ],
)
def test_label_without_a_name_stops_with_one_line_and_no_shards(
    tmp_path, capsys, label, with_names, words
):
    flags, names = labelled_folder(tmp_path, [0, label])
    flags += [f"--class_names={names}"] * with_names
    assert build(tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(word in error for word in words)
    assert not list((tmp_path / "out").glob("*.tfrecord*"))
    assert not list((tmp_path / "out").glob("*.partial"))


def test_bad_images_are_listed_and_stop_the_build_unless_dropped(tmp_path, capsys):
    good = picture(9)
    archive = write_zip(
        tmp_path / "images.zip", {"good.jpg": good, "cut.jpg": good[:200], "text.jpg": b"<html>"}
    )
    index = write_jsonl(
        tmp_path / "index.jsonl",
        [{"image": name, "text": name} for name in ("cut.jpg", "good.jpg", "none.jpg", "text.jpg")],
    )
    flags = [f"--input={archive}", f"--index={index}", "--text_field=text"]
    out = tmp_path / "out"
    assert build(out, *flags) == 2
    error = capsys.readouterr().err
    assert "3 of 4 images" in error and "--drop_bad" in error
    assert not list(out.glob("*.tfrecord*"))
    rejected = (out / "web-train.rejected.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[1] for line in rejected] == ["cut.jpg", "none.jpg", "text.jpg"]
    assert build(out, *flags, "--drop_bad") == 0
    assert read(out) == [(good, ["good.jpg"], "web")]
    assert json.loads((out / "web-train.json").read_text())["bad_images"] == 3


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--text_field=text"], ["--input", "--index", "--tfds"]),
        (["--input={zip}", "--index={index}"], ["--text_field", "--label_field"]),
        (["--input={zip}", "--index={index}", "--text_field=txet"], ["row 1", "'txet'", "text"]),
        (["--input=no.zip", "--index={index}", "--text_field=text"], ["'no.zip'", "--input"]),
        (["--input={zip}", "--index=no.tsv", "--text_field=text"], ["'no.tsv'", "--index"]),
        (["--input={index}", "--index={index}", "--text_field=text"], ["no whole zip file"]),
        (["--input={zip}", "--index={zip}", "--text_field=text"], [".jsonl, .tsv"]),
        (["--input={zip}", "--index={broken}", "--text_field=text"], ["row 2", "not JSON"]),
        (["--input={zip}", "--index={ragged}", "--text_field=text"], ["row 1", "3 fields"]),
        (["--input={zip}", "--index={index}", "--text_field=text", "--shard=2"], ["--shard"]),
        (["--tfds=no_such_set:train", "--text_field=text"], ["'no_such_set'"]),
        (["--tfds=mnist", "--text_field=text"], ["NAME:SPLIT"]),
    ],
)
def test_bad_input_gives_one_line_that_names_it(tmp_path, capsys, flags, words):
    paths = {
        "zip": write_zip(tmp_path / "images.zip", {"a.jpg": picture(1)}),
        "index": write_jsonl(tmp_path / "index.jsonl", [{"image": "a.jpg", "text": "x"}]),
        "broken": tmp_path / "broken.jsonl",
        "ragged": tmp_path / "ragged.tsv",
    }
    paths["broken"].write_text('{"image": "a.jpg", "text": "x"}\n{"image": \n')
    paths["ragged"].write_text("image\ttext\na.jpg\tx\ty\n")
    assert build(tmp_path / "out", *(flag.format(**paths) for flag in flags)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    assert all(word in error for word in words), error


def test_tensorflow_datasets_are_read_with_their_own_label_names(tmp_path):
    import tensorflow_datasets as tfds

    class TinyAnimals(tfds.core.GeneratorBasedBuilder):
        """Two pictures of animals."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, label in enumerate(["dog", "cat"]):
                captions = [{"text": f"a {label}"}, {"text": f"the {label}"}]
                image = io.BytesIO(picture(number))
                yield number, {"image": image, "label": label, "captions": captions}

    flags = ["--tfds=tiny_animals:train", f"--tfds_data_dir={tmp_path / 'tfds'}"]
    assert build(tmp_path, *flags, "--label_field=label", source="names") == 0
    assert build(tmp_path, *flags, "--text_field=captions/text", source="web") == 0
    assert sorted(texts for _, texts, _ in read(tmp_path, "names")) == [["cat"], ["dog"]]
    captions = {tuple(texts): image for image, texts, _ in read(tmp_path, "web")}
    assert captions == {("a dog", "the dog"): picture(0), ("a cat", "the cat"): picture(1)}


@pytest.mark.parametrize(
    "name, flags",
    [
        ("labels_caltech101", ["--label_field=label_id", "--class_names={data}/classes.txt"]),
        ("alttext_ikea", ["--text_field", "alt_text", "description"]),
    ],
)
def test_real_photographs_become_shards(tmp_path, name, flags):
    data = shared_data_directory(name)
    index = next(data.glob("val.*l")) if list(data.glob("val.*l")) else data / "val.tsv"
    flags = [flag.format(data=data) for flag in flags]
    assert build(tmp_path, f"--input={data / 'val.zip'}", f"--index={index}", *flags) == 0
    counts = json.loads((tmp_path / "web-train.json").read_text())
    assert counts["examples"] == counts["rows"] > 90
