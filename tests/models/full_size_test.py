"""open_clip's own sizes, with random weights, against open_clip itself.

The checkpoints, of one to three gigabytes, are made on demand by the Python of an environment with
torch and open_clip, which the variable OPEN_CLIP_PYTHON names.
"""

import os
import pathlib
import subprocess

import numpy as np
import pytest

from official_coca.models.coca import CoCa

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "make_open_clip_checkpoints.py"
PYTHON = os.environ.get("OPEN_CLIP_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="OPEN_CLIP_PYTHON names no Python with open_clip 3.3.0")
@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_base", "coca_ViT-L-14"])
def test_full_size_model_equals_open_clip(name, tmp_path):
    subprocess.run([PYTHON, SCRIPT, tmp_path, "--full", name], check=True)
    expected = np.load(tmp_path / name / "expected.npz")
    model = CoCa.from_preset(tmp_path / name, preprocessor=None)
    outputs = model({"images": expected["images"], "token_ids": expected["token_ids"]})
    outputs["image_tokens"] = model.image_features(expected["images"])[1]
    for output in ("image_embedding", "text_embedding", "image_tokens", "logits"):
        difference = np.abs(np.asarray(outputs[output]) - expected[output]).max()
        print(f"{name} {output}: largest difference {difference:.1e}")
        assert difference < 1e-4, output
    lengths = {"max_length": expected["greedy"].shape[1], "min_length": 5}
    np.testing.assert_array_equal(
        model.generate(expected["images"], **lengths), expected["greedy"]
    )
    beams = model.generate(
        expected["images"], sampler="open_clip_beam", num_beams=6, num_beam_groups=1, **lengths
    )
    np.testing.assert_array_equal(beams, expected["beams_6_1"])
