"""Handles become directories: what is fetched from a hub, when, and what is said where it fails."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from official_coca.errors import InvalidInputError
from official_coca.saving import handles
from tests.saving.hub_server import hub

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = """
import json, sys
from official_coca.errors import InvalidInputError
from official_coca.saving import handles
try:
    directory = handles.resolve(sys.argv[1])
    described = sorted(path.name for path in directory.iterdir())
    directory = handles.resolve_weights(sys.argv[1], directory)
    print(json.dumps([described, sorted(path.name for path in directory.iterdir())]))
except InvalidInputError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def repositories(tmp_path):
    """A hub's files: one repository with everything, one with a pickle only."""
    for name, files in (
        ("both", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")),
        ("pickle", ("open_clip_pytorch_model.bin",)),
    ):
        directory = tmp_path / "hub" / "owner" / name
        directory.mkdir(parents=True)
        for file in ("open_clip_config.json", "vocab.json", "merges.txt", "README.md", *files):
            (directory / file).write_text("{}")
    return tmp_path / "hub"


@pytest.fixture
def resolve(tmp_path):
    """Resolves a handle in a process of its own, since the hub's client reads its settings once."""

    def run(handle, address, **environment):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM, handle],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "HF_ENDPOINT": address,
                "HF_HOME": str(tmp_path / "cache"),
                "HF_HUB_DISABLE_XET": "1",
                **environment,
            },
        )
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout.splitlines()[-1])

    return run


def test_repository_is_described_first_then_fetched_and_then_found_offline(repositories, resolve):
    described = ["merges.txt", "open_clip_config.json", "vocab.json"]
    whole = ["merges.txt", "open_clip_config.json", "open_clip_model.safetensors", "vocab.json"]
    with hub(repositories) as (address, asked):
        assert resolve("hf://owner/both", address) == [described, whole]
        assert not any(path.endswith((".bin", "README.md")) for path in asked)
    assert resolve("hf://owner/both", address, HF_HUB_OFFLINE="1") == [whole, whole]
    assert resolve("hf://owner/both", address) == [whole, whole]  # no network


def test_pickle_is_not_fetched_where_nothing_can_read_it(repositories, resolve):
    with hub(repositories) as (address, asked):
        message = resolve("hf://owner/pickle", address)
        assert "pip install torch, then `coca convert`" in message
        assert not any(path.endswith(".bin") for path in asked)


def test_unknown_repository_and_missing_network_are_said_in_one_line(repositories, resolve):
    with hub(repositories) as (address, _):
        message = resolve("hf://owner/nothing", address)
    assert message.startswith("cannot download hf://owner/nothing: the hub has no such repository")
    message = resolve("hf://owner/both", address)
    assert "there is no network, and nothing of it is in the cache" in message
    assert "\n" not in message


def test_kaggle_handles_go_to_its_hub(monkeypatch, tmp_path):
    import kagglehub

    asked = []
    monkeypatch.setattr(
        kagglehub, "model_download", lambda name: asked.append(name) or str(tmp_path)
    )
    assert handles.resolve("kaggle://owner/coca/keras/base") == tmp_path
    assert asked == ["owner/coca/keras/base"]


@pytest.mark.parametrize(
    "kind, words",
    [
        ("ConnectionError", "there is no network, or the hub cannot be reached"),
        ("SSLError", "there is no network, or the hub cannot be reached"),
        ("ReadTimeout", "the hub does not answer in time"),
    ],
)
def test_missing_network_of_kaggle_is_said_without_internals(monkeypatch, kind, words):
    import kagglehub
    import requests

    def fail(name):
        raise getattr(requests.exceptions, kind)("HTTPSConnectionPool(host='x'): Max retries")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    with pytest.raises(InvalidInputError, match=words) as raised:
        handles.resolve("kaggle://owner/coca/keras/base")
    message = str(raised.value)
    assert message.startswith("cannot download kaggle://owner/coca/keras/base: ")
    assert "Pool" not in message and "\n" not in message


@pytest.mark.parametrize(("handle", "words"), [("", "is empty"), ("x" * 5000, "unknown preset")])
def test_handle_that_can_be_no_directory_is_one_clear_line(handle, words):
    with pytest.raises(InvalidInputError, match=words):
        handles.resolve(handle)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(InvalidInputError, match="unknown preset 'coca_huge'.*coca_tiny, coca_base"):
        handles.resolve("coca_huge", ["coca_tiny", "coca_base"])
