"""The same model on JAX: forward pass, both losses, greedy decoding and `predict`."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.tiny_models import tiny_coca, training_batch

LENGTHS = [4, 9, 6]
PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # whoever imports it fails
import keras, numpy as np
from tests.tiny_models import tiny_coca, training_batch

assert keras.backend.backend() == "jax"
weights, output = sys.argv[1:]
x, targets, token_weights = training_batch({lengths})
results = {{}}
for pooler in ("cascade", "shared"):
    model = tiny_coca(pooler=pooler)
    model.load_weights(weights.format(pooler))
    results.update({{f"{{pooler}}/{{name}}": value for name, value in model(x).items()}})
    losses, _ = model.compute_losses(x, targets, token_weights)
    results.update({{f"{{pooler}}/{{name}}": value for name, value in losses.items()}})
    results[f"{{pooler}}/captions"] = model.generate(x["images"])
np.savez(output, **{{name: np.asarray(value) for name, value in results.items()}})
"""
# `predict` asks TensorFlow whether its data are raw.
PREDICTION = """
import sys
import keras, numpy as np
from tests.tiny_models import tiny_coca, training_batch

assert keras.backend.backend() == "jax"
weights, output = sys.argv[1:]
model = tiny_coca()
model.load_weights(weights)
np.savez(output, **model.predict(training_batch({lengths})[0], verbose=0))
"""


def test_jax_equals_tensorflow(tmp_path):
    pytest.importorskip("jax", reason="JAX is in requirements-test.txt")
    x, targets, token_weights = training_batch(LENGTHS)
    expected = {}
    for pooler in ("cascade", "shared"):
        model = tiny_coca(pooler=pooler)
        model.save_weights(tmp_path / f"{pooler}.weights.h5")
        expected.update({f"{pooler}/{name}": value for name, value in model(x).items()})
        losses, _ = model.compute_losses(x, targets, token_weights)
        expected.update({f"{pooler}/{name}": value for name, value in losses.items()})
        expected[f"{pooler}/captions"] = model.generate(x["images"])
    results = _results_on_jax(PROGRAM, tmp_path / "{}.weights.h5", tmp_path / "results.npz")
    assert set(results) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(results[name], value, atol=1e-4, err_msg=name)


def test_prediction_on_jax_equals_tensorflow(tmp_path):
    pytest.importorskip("jax", reason="JAX is in requirements-test.txt")
    model = tiny_coca()
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    expected = model.predict(training_batch(LENGTHS)[0], verbose=0)
    results = _results_on_jax(PREDICTION, weights, tmp_path / "results.npz")
    assert set(results) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(results[name], value, atol=1e-4, err_msg=name)


def _results_on_jax(program, weights, output):
    ran = subprocess.run(
        [sys.executable, "-c", program.format(lengths=LENGTHS), weights, output],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return np.load(output)
