"""`coca classify`: probabilities of labels that are given by name."""

import json

import numpy as np
import pytest

from official_coca.evaluation.zero_shot import embed_classes
from official_coca.preprocessing.prompts import CLIP_TEMPLATES, load_templates

LABELS = ["cat", "dog", "seven"]


def expected(model, paths, templates):
    similarities = np.asarray(model.encode_image([path.read_bytes() for path in paths])) @ (
        embed_classes(model, LABELS, templates).T
    )
    shares = np.exp(similarities / float(model.temperature))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "flags, templates",
    [
        ([], ["a photo of a {}."]),
        (["--templates"], load_templates(CLIP_TEMPLATES)),
        (["--templates={directory}/mine.txt"], ["the {}", "red {}"]),
    ],
    ids=["default", "clip", "file"],
)
def test_probabilities_are_the_softmax_of_similarities(
    coca, model, photos, capsys, flags, templates
):
    (photos / "mine.txt").write_text("the {}\nred {}\n")
    flags = [flag.format(directory=photos) for flag in flags]
    paths = [photos / "a.png", photos / "c.png"]
    assert coca("classify", *paths, "--labels=cat, dog,seven", "--json", *flags) == 0
    for line, path, row in zip(
        capsys.readouterr().out.splitlines(), paths, expected(model, paths, templates), strict=True
    ):
        record = json.loads(line)
        assert record["image"] == str(path)
        assert [one["label"] for one in record["labels"]] == [LABELS[i] for i in np.argsort(-row)]
        shares = [one["probability"] for one in record["labels"]]
        np.testing.assert_allclose(shares, np.sort(row)[::-1], atol=1e-5)


def test_names_with_commas_come_from_a_file_and_top_limits_them(coca, photos, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("a cat, red\na dog, blue\n\nseven\n", encoding="utf-8-sig")  # with a BOM
    assert coca("classify", photos / "a.png", f"--labels_file={names}", "--top=2") == 0
    path, *fields = capsys.readouterr().out.rstrip("\n").split("\t")
    assert path == str(photos / "a.png") and len(fields) == 4
    assert set(fields[::2]) <= {"a cat, red", "a dog, blue", "seven"}
    assert float(fields[1]) >= float(fields[3])


def test_bad_image_is_skipped(coca, photos, capsys):
    (photos / "b.PNG").write_bytes(b"no image")
    assert coca("classify", photos, "--labels=cat,dog", "--top=1") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4 and "1 of 5 images was skipped" in err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--labels=cat,,dog"], ["--labels=cat,,dog", "empty", "one comma between two"]),
        (["--labels=cat,"], ["--labels=cat,", "empty", "one comma between two"]),
        (["--labels="], ["--labels=", "empty"]),
        (["--labels_file={directory}/empty.txt"], ["empty.txt", "give one name a line"]),
        (["--labels=cat,dog,cat"], ["--labels", "'cat' more than once"]),
        (["--labels_file=no/such.txt"], ["--labels_file=no/such.txt"]),
        (["--labels=cat,dog", "--templates=no/such.txt"], ["no/such.txt"]),
        (["--labels=cat,dog", "--templates", "cat.jpg"], ["--templates=clip", "cat.jpg"]),
        (["--labels=cat,dog", "--top=0"], ["--top=0"]),
        (["--labels=cat", "--labels_file=x"], ["--labels_file", "not allowed"]),
    ],
)
def test_wrong_flag_is_one_line_and_exit_code_2(coca, photos, capsys, flags, words):
    (photos / "empty.txt").write_text("\n")
    assert coca("classify", photos, *[flag.format(directory=photos) for flag in flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for word in words:
        assert word in err
