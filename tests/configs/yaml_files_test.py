"""Every YAML file of `experiments/` fits the experiment that its own command names."""

import pathlib
import re

import pytest
from official.core import exp_factory
from official.modeling import hyperparams

from official_coca.configs import coca  # noqa: F401  (registers the experiments)

DIRECTORY = pathlib.Path(__file__).resolve().parents[2] / "experiments"
FILES = sorted(DIRECTORY.glob("*.yaml"))


def test_there_are_files():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_fits_its_experiment_and_names_only_what_differs(path):
    text = path.read_text(encoding="utf-8")
    (name,) = re.findall(r"--experiment=(\w+)", text)
    assert f"--config_file=experiments/{path.name}" in text
    default = exp_factory.get_exp_config(name)
    config = exp_factory.get_exp_config(name)
    hyperparams.override_params_dict(config, str(path), is_strict=True)
    config.validate()
    changes = hyperparams.read_yaml_to_params_dict(str(path)).as_dict()
    assert not list(same_leaves(changes, default.as_dict()))


def same_leaves(changes, defaults, key=""):
    """The keys of `changes` whose value is the default already."""
    for name, value in changes.items():
        if isinstance(value, dict):
            yield from same_leaves(value, defaults[name] or {}, f"{key}.{name}")
        elif name in defaults and value == defaults[name]:
            yield f"{key}.{name}"
