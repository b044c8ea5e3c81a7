"""Which files the arguments of a command stand for."""

import io
import os
import sys

import pytest

from official_coca.commands.image_files import find_images, is_image_argument
from official_coca.errors import InvalidInputError


def names(files, photos):
    return [os.path.relpath(file.path, photos) for file in files]


def test_directory_gives_images_of_all_levels_by_extension(photos):
    (photos / ".thumbnails").mkdir()
    (photos / ".thumbnails" / "x.png").touch()
    (photos / "._a.png").touch()
    found = find_images([str(photos)])
    assert names(found, photos) == ["a.png", "b.PNG", "c.png", "beach/d.png", "beach/e.png"]
    assert not any(file.problem for file in found)


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("*.png", ["a.png", "c.png"]),
        ("*", ["a.png", "b.PNG", "c.png"]),
        ("**/*.png", ["a.png", "beach/d.png", "beach/e.png", "c.png"]),
        ("*.txt", ["notes.txt"]),
    ],
)
def test_glob_gives_files_in_order(photos, pattern, expected):
    assert names(find_images([str(photos / pattern)]), photos) == expected


def test_file_whose_name_has_brackets_is_no_pattern(photos):
    (photos / "[1].png").touch()
    assert names(find_images([str(photos / "[1].png")]), photos) == ["[1].png"]


def test_order_is_that_of_the_arguments_and_explicit_files_are_taken_as_they_are(photos):
    given = [str(photos / name) for name in ("notes.txt", "c.png", "a.png", "absent.jpg")]
    assert [file.path for file in find_images(given)] == given


def test_what_stands_for_nothing_has_its_problem(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (directory,) = find_images([str(tmp_path / "empty")])
    (pattern,) = find_images([str(photos / "*.gif")])
    assert "no image file in this directory" in directory.problem
    assert "no image file matches" in pattern.problem


def test_standard_input_gives_one_argument_a_line(photos, monkeypatch):
    lines = f"{photos}/c.png\r\n\n{photos}/beach\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert names(find_images(["-"]), photos) == ["c.png", "beach/d.png", "beach/e.png"]


def test_empty_standard_input_is_told_and_exits_with_1(coca, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert coca("caption", "-") == 1
    err = capsys.readouterr().err
    assert err == "skipped -: standard input lists no image\n1 of 1 images was skipped\n"


def test_closed_standard_input_is_one_line(coca, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert coca("caption", "-") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: - reads arguments from standard input, which is closed; pipe")
    assert err.count("\n") == 1


def test_argument_is_an_image_where_it_exists_else_a_text(photos):
    assert is_image_argument(str(photos))
    assert is_image_argument(str(photos / "*.png"))
    assert is_image_argument("-")
    assert not is_image_argument("a red cat?")


@pytest.mark.parametrize("argument", ["phtos/a", "cat.JPG", "beach/*.png"])
def test_mistyped_path_is_no_text(argument):
    with pytest.raises(InvalidInputError, match="looks like a path"):
        is_image_argument(argument)
