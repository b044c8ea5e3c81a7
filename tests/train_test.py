"""The training program, on a few digits and a model of some thousand weights."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from official_coca import train
from official_coca.models.coca import CoCa
from official_coca.program import run_program
from official_coca.training.training_log import read_evaluation_log, read_training_log
from tests.digits_data import make_digits_data, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_digits_data(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory):
    """A run of four steps without interruption."""
    directory = tmp_path_factory.mktemp("whole")
    assert run(data, directory) == 0
    return directory


def run(data, model_dir, changes=None, mode="train_and_eval", flags=()):
    """Runs the program in this process and returns its exit code."""
    model_dir.mkdir(exist_ok=True)
    config_file = model_dir / "changes.yaml"
    config_file.write_text(yaml.safe_dump(tiny_config(data)), encoding="utf-8")
    arguments = [
        "--experiment=coca_tiny_digits",
        f"--mode={mode}",
        f"--model_dir={model_dir}",
        f"--config_file={config_file}",
        *flags,
    ]
    if changes:
        arguments.append(f"--params_override={json.dumps(changes)}")
    return run_program(train.main, arguments)


def error_line(capsys):
    """The one line that the program said before it gave up."""
    captured = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in captured if line.startswith("error: ")]
    assert len(lines) == 1, captured
    assert captured[-1] == lines[0]
    return lines[0]


def losses(directory):
    return [(row["step"], row["loss"]) for row in read_training_log(directory)]


def weights(directory):
    return CoCa.from_preset(str(directory / "preset")).get_weights()


def test_run_leaves_config_logs_checkpoints_and_preset(data, whole_run):
    params = yaml.safe_load((whole_run / "params.yaml").read_text(encoding="utf-8"))
    assert params["trainer"]["train_steps"] == 4
    assert params["task"]["train_data"]["sources"][0]["pattern"].startswith(str(data))
    assert [step for step, _ in losses(whole_run)] == [1, 2, 3, 4]
    assert np.isfinite([loss for _, loss in losses(whole_run)]).all()
    evaluation = read_evaluation_log(whole_run)
    assert sorted(evaluation) == [2, 4]
    assert {"zero_shot_top1", "retrieval_i2t_r1", "captions_exact_match"} <= set(evaluation[4])
    assert (whole_run / "checkpoints" / "checkpoint-4.index").exists()
    assert list((whole_run / "train").glob("events.*"))
    assert weights(whole_run)


class Killed(BaseException):
    """Stands in for a kill: nothing catches it."""


class KillingLog(train.TrainingLog):
    """Dies in the middle of the second epoch, after it has written the row of that step."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == 3:
            raise Killed


def test_killed_and_resumed_run_equals_the_uninterrupted_one(
    data, whole_run, tmp_path, capsys, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(train, "TrainingLog", KillingLog)
        with pytest.raises(Killed):
            run(data, tmp_path, mode="train")
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3]
    assert run(data, tmp_path, mode="train") == 0
    assert "step 2, epoch 1" in capsys.readouterr().out
    assert losses(tmp_path) == losses(whole_run)
    for expected, actual in zip(weights(whole_run), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_finished_run_is_left_as_it_is(data, whole_run, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole_run.glob("checkpoints/*")}
    assert run(data, whole_run) == 0
    assert "the training is finished: step 4" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in whole_run.glob("checkpoints/*")} == before


def test_eval_mode_evaluates_the_last_checkpoint(data, whole_run, capsys):
    expected = read_evaluation_log(whole_run)[4]
    assert run(data, whole_run, mode="eval") == 0
    assert f"{expected['zero_shot_top1']:.4f}" in capsys.readouterr().out
    assert read_evaluation_log(whole_run)[4] == pytest.approx(expected)


def test_longer_training_goes_on_and_says_what_changed(data, whole_run, tmp_path, capsys):
    shutil.copytree(whole_run, tmp_path, dirs_exist_ok=True)
    assert run(data, tmp_path, {"trainer": {"train_steps": 5}}, mode="train") == 0
    assert "config changed: trainer.train_steps 4 -> 5" in capsys.readouterr().out
    assert losses(tmp_path)[:4] == losses(whole_run)
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4, 5]
    assert (tmp_path / "checkpoints" / "checkpoint-5.index").exists()
    assert not np.array_equal(weights(tmp_path)[0], weights(whole_run)[0])


def test_preset_holds_the_averaged_weights_and_the_checkpoint_both(data, tmp_path):
    changes = {
        "trainer": {"train_steps": 3, "optimizer_config": {"ema_momentum": 0.5}},
        "runtime": {"mixed_precision_dtype": "bfloat16"},
    }
    try:
        assert run(data, tmp_path, changes, mode="train") == 0
    finally:
        keras.config.set_dtype_policy("float32")
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))

    def from_checkpoint(ending):
        (name,) = [n for n in reader.get_variable_to_shape_map() if ending in n]
        return reader.get_tensor(name)

    trained = from_checkpoint("model:log_temperature/")
    averaged = from_checkpoint("log_temperature_average/")
    assert trained != averaged
    assert CoCa.from_preset(str(tmp_path / "preset")).log_temperature.numpy() == averaged


def test_other_model_in_the_same_directory_is_one_line(data, whole_run, capsys):
    changes = {"task": {"model": {"overrides": {"image_mlp_dim": 24}}}}
    assert run(data, whole_run, changes) == 2
    line = error_line(capsys)
    assert "image_encoder" in line and "[16, 16]" in line and "[16, 24]" in line


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"trainer": {"train_step": 3}}, ["'train_step'", "did you mean 'train_steps'"]),
        ({"trainer": {"train_steps": "many"}}, ["trainer.train_steps='many'", "expected int"]),
        ({"task": {"model": {"overrides": {"embed": "abc"}}}}, ["overrides.embed='abc'"]),
        (
            {"task": {"model": {"overrides": {"num_queries": "abc"}}}},
            ["overrides.num_queries='abc'", "expected int"],
        ),
        ({"task": {"model": {"tokenizer": "no/such.model"}}}, ["no/such.model"]),
        ({"task": {"model": {"preset": "coca_small"}}}, ["'coca_small'", "coca_tiny"]),
        (
            {"task": {"train_data": {"sources": [{"pattern": "no/such-*"}, {}]}}},
            ["'labels'", "no/such-*"],
        ),
    ],
)
def test_wrong_config_is_one_line_and_exit_code_2(data, tmp_path, capsys, changes, words):
    assert run(data, tmp_path, changes) == 2
    line = error_line(capsys)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--experimnt=x"], ["experimnt"]),
        (["--experiment=huge", "--mode=train", "--model_dir=x"], ["huge", "coca_tiny_digits"]),
        (["--experiment=huge", "--mode=continuous_eval"], ["train|eval|train_and_eval"]),
        (["--mode=train", "--model_dir=x"], ["--experiment is missing"]),
        (["train"], ["'train' is no flag"]),
        (["--gin_file=x"], ["gin_file"]),
        (
            [
                "--experiment=coca_tiny_digits",
                "--mode=train",
                "--model_dir=x",
                "--config_file=no/such.yaml",
            ],
            ["no/such.yaml"],
        ),
        (
            [
                "--experiment=coca_tiny_digits",
                "--mode=train",
                "--model_dir=x",
                "--params_override=no_such_file",
            ],
            ["no_such_file"],
        ),
    ],
)
def test_wrong_flag_is_one_line_and_exit_code_2(capsys, arguments, words):
    assert run_program(train.main, arguments) == 2
    line = error_line(capsys)
    for word in words:
        assert word in line
    assert not pathlib.Path("x").exists()


def test_flags_of_one_call_do_not_reach_the_next():
    arguments = ["--experiment=coca_tiny_digits", "--mode=train", "--model_dir=x"]
    first = train.parse_flags([*arguments, "--params_override=trainer.train_steps=7"])
    assert train.parse_config(first).trainer.train_steps == 7
    assert train.parse_config(train.parse_flags(arguments)).trainer.train_steps == 5000


def test_later_flags_win_over_earlier_ones(tmp_path):
    files = []
    for steps in (100, 200):
        files.append(tmp_path / f"{steps}.yaml")
        files[-1].write_text(
            f"trainer: {{train_steps: {steps}, summary_interval: {steps}}}", encoding="utf-8"
        )
    values = train.parse_flags(
        [
            "--experiment=coca_tiny_digits",
            "--mode=train",
            "--model_dir=x",
            *(f"--config_file={path}" for path in files),
            "--params_override=trainer.train_steps=300",
        ]
    )
    config = train.parse_config(values)
    assert config.trainer.train_steps == 300
    assert config.trainer.summary_interval == 200
