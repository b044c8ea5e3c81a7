"""What importing the package sets for TensorFlow, which reads it when it starts."""

import json
import os
import subprocess
import sys

import pytest

NAMES = ("TF_ENABLE_ONEDNN_OPTS", "TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB")


def settings_after(code, **environment):
    environment = {**{k: v for k, v in os.environ.items() if k not in NAMES}, **environment}
    code += f"; import os, json; print(json.dumps([os.environ.get(name) for name in {NAMES}]))"
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1])


def test_fast_products_and_an_allocator_that_keeps_memory_up_to_all_there_is():
    products, allocator, limit = settings_after("import official_coca")
    assert (products, allocator) == ("1", "true")
    assert int(limit) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def test_values_that_are_set_stay():
    given = dict(zip(NAMES, ("0", "false", "123")))
    assert settings_after("import official_coca", **given) == list(given.values())


@pytest.mark.parametrize("imported", ["import tensorflow", "import keras"])
def test_a_tensorflow_that_has_started_is_left_alone(imported):
    assert settings_after(f"{imported}, official_coca", KERAS_BACKEND="tensorflow") == [None] * 3
