"""What importing the package sets for TensorFlow, which reads it when it starts."""

import os
import subprocess
import sys

import pytest

NAME = "TF_ENABLE_ONEDNN_OPTS"


def setting_after(code, **environment):
    environment = {**{key: x for key, x in os.environ.items() if key != NAME}, **environment}
    code += f"; import os; print(os.environ.get('{NAME}'))"
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return process.stdout.splitlines()[-1]


def test_fast_products_are_asked_for():
    assert setting_after("import official_coca") == "1"


def test_a_value_that_is_set_stays():
    assert setting_after("import official_coca", **{NAME: "0"}) == "0"


@pytest.mark.parametrize("imported", ["import tensorflow", "import keras"])
def test_a_tensorflow_that_has_started_is_left_alone(imported):
    assert setting_after(f"{imported}, official_coca", KERAS_BACKEND="tensorflow") == "None"
