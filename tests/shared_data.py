"""Finds the optional folder of real photographs and reference scores that some tests use."""

import os
import pathlib

import pytest

_ENVIRONMENT_VARIABLE = "OFFICIAL_COCA_SHARED_DATA"


def shared_data_directory(name):
    """Returns the `pathlib.Path` of the data set `name`, or skips the calling test."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    directory = pathlib.Path(os.environ.get(_ENVIRONMENT_VARIABLE, default)) / name
    if not directory.is_dir():
        pytest.skip(
            f"the optional data set {name!r} is absent; set {_ENVIRONMENT_VARIABLE} to its parent"
        )
    return directory
