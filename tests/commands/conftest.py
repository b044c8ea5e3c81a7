"""A small model and a directory of small images, which the tests of all commands share."""

import pytest

from tests.tiny_models import encoded_images, tiny_coca, tiny_preprocessor


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """Directory of a CoCa whose embeddings are 16 wide."""
    directory = tmp_path_factory.mktemp("model") / "preset"
    tiny_coca(preprocessor=tiny_preprocessor()).save_to_preset(directory)
    return directory


@pytest.fixture(scope="session")
def model(preset):
    from official_coca.models.coca import CoCa

    return CoCa.from_preset(preset)


@pytest.fixture
def photos(tmp_path):
    """Five images, two of them in a subdirectory, and a file that is none by its name."""
    directory = tmp_path / "photos"
    (directory / "beach").mkdir(parents=True)
    names = ["a.png", "b.PNG", "c.png", "beach/d.png", "beach/e.png"]
    for name, encoded in zip(names, encoded_images(5)):
        (directory / name).write_bytes(encoded)
    (directory / "notes.txt").write_text("no image")
    return directory


@pytest.fixture
def coca(preset, model, monkeypatch):
    """Runs `coca ARGUMENTS` in this process with the small model; returns the exit code.

    The small model is loaded once for all tests, with what it has compiled.
    """
    from official_coca import cli
    from official_coca.commands import model_flag
    from official_coca.program import run_program

    load = model_flag.load_weights
    monkeypatch.setattr(
        model_flag, "load_weights", lambda name: model if name == str(preset) else load(name)
    )
    monkeypatch.setenv("COCA_MODEL", str(preset))
    return lambda *arguments: run_program(cli.main, [str(argument) for argument in arguments])
