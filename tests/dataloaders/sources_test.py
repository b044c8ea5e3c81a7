"""What a source refuses."""

import pytest

from official_coca.dataloaders.sources import Source
from official_coca.errors import InvalidInputError


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": ""}, "no name"),
        ({"kind": "caption"}, "'caption'.*labels.*captions"),
        ({"share": 0}, "share 0"),
        ({"share": -1.5}, "share -1.5"),
        ({"share": float("nan")}, "share nan"),
        ({"kind": "labels", "templates": ()}, "no prompt template"),
        ({"kind": "labels", "templates": ("a photo",)}, "'a photo'.*{}"),
        ({"kind": "labels", "templates": ("{} and {}",)}, "{} and {}"),
    ],
)
def test_bad_source_is_refused_by_name(arguments, message):
    good = {"name": "web", "pattern": "shards/web-*", "kind": "captions"}
    with pytest.raises(InvalidInputError, match=message):
        Source(**{**good, **arguments})


def test_files_are_sorted_and_a_pattern_without_files_is_named(tmp_path):
    for name in ("b.tfrecord", "a.tfrecord"):
        (tmp_path / name).touch()
    files = Source("web", str(tmp_path / "*.tfrecord"), "captions").files()
    assert [file.rsplit("/")[-1] for file in files] == ["a.tfrecord", "b.tfrecord"]
    for pattern in (str(tmp_path / "c*"), ""):
        with pytest.raises(InvalidInputError, match="data/make_shards.py"):
            Source("web", pattern, "captions").files()
