"""`coca convert`, `coca export` and `coca presets`."""

import json

import numpy as np
import pytest

from official_coca.models.open_weights import OPEN_WEIGHTS
from tests.failing_writes import files_of_at_most


def test_converted_model_equals_its_source(coca, model, preset, tmp_path, capsys):
    from official_coca.models.coca import CoCa

    destination = tmp_path / "new" / "model"
    assert coca("convert", preset, destination) == 0
    out = capsys.readouterr().out
    for name in ("config.json", "model.weights.h5", f"{model.count_params():,} parameters"):
        assert name in out
    texts = ["a red cat"]
    converted = CoCa.from_preset(destination)
    np.testing.assert_array_equal(converted.encode_text(texts), model.encode_text(texts))
    assert coca("convert", preset, destination) == 0  # an existing preset is replaced


def test_other_files_are_not_overwritten_unasked(coca, preset, photos, capsys):
    assert coca("convert", preset, photos) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert not (photos / "config.json").exists()
    assert coca("convert", preset, photos, "--overwrite") == 0
    assert (photos / "config.json").exists() and (photos / "notes.txt").exists()


@pytest.mark.parametrize(
    "source, destination, words",
    [
        ("no/such", "{tmp}/new", ["no/such"]),
        ("coca_tiny", "{tmp}/new", ["coca_tiny", "name a trained preset", "in Python, "]),
        ("no/such", "{tmp}/file", ["DST", "is a file"]),
        ("no/such", "{tmp}/file/new", ["DST", "cannot be written"]),
    ],
)
def test_mistake_is_one_line_and_leaves_nothing(coca, tmp_path, capsys, source, destination, words):
    (tmp_path / "file").touch()
    assert coca("convert", source, destination.format(tmp=tmp_path)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not (tmp_path / "new").exists()
    for word in words:
        assert word in err


def test_full_disk_is_one_line_and_leaves_nothing(coca, preset, tmp_path, capsys):
    with files_of_at_most(20_000):
        assert coca("convert", preset, tmp_path / "new") == 2
    assert capsys.readouterr().err == (
        f"error: DST {tmp_path / 'new'} cannot be written: File too large\n"
    )
    assert not list(tmp_path.iterdir())


def test_export_is_the_program_of_serving(coca, capsys):
    assert coca("export", "--model=no/such") == 2
    assert "--export_dir" in capsys.readouterr().err


def test_presets_lists_weights_and_architectures(coca, capsys):
    assert coca("presets", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = {record["name"]: record["kind"] for record in records}
    assert kinds["coca_base"] == "architecture"
    for name, repository in OPEN_WEIGHTS.items():
        assert {"name": name, "kind": "weights", "source": f"hf://{repository}"} in records
