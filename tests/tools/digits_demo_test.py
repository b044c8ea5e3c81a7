"""The parts of the demo, and the whole of it in small."""

import json
import pathlib

import pytest

from data.make_digits import LABEL_TEMPLATES
from official_coca import train
from official_coca.errors import InvalidInputError
from official_coca.program import run_program
from official_coca.tools import digits_demo

SMALL = {
    "shards": 1,
    "seed": 0,
    "train_labels": 60,
    "train_scenes": 60,
    "test_labels": 20,
    "test_scenes": 12,
    "vocabulary_size": 120,
}
KEYS = {
    "zero_shot_top1",
    "caption_exact_match",
    "retrieval_i2t_r1",
    "retrieval_t2i_r1",
    "train_seconds",
}


def test_data_are_made_once_and_again_when_asked_for_others(tmp_path):
    data = tmp_path / "data"
    assert digits_demo.make_data(data, SMALL)
    before = (data / "vocabulary.model").stat().st_mtime_ns
    assert not digits_demo.make_data(data, SMALL)
    assert (data / "vocabulary.model").stat().st_mtime_ns == before
    assert digits_demo.make_data(data, {**SMALL, "seed": 1})


def test_data_left_half_made_are_made_again(tmp_path):
    data = tmp_path / "data"
    digits_demo.make_data(data, SMALL)
    (data / "recipe.json").unlink()
    (data / "vocabulary.model").write_bytes(b"half")
    assert digits_demo.make_data(data, SMALL)
    assert len((data / "vocabulary.model").read_bytes()) > 100


def test_experiment_reads_the_data_of_its_directory(tmp_path):
    config = digits_demo.experiment(tmp_path, "trainer.train_steps=7")
    task = config.task
    paths = [section.pattern for section in task.train_data.sources]
    paths += [section.pattern for section in task.validation_data.evaluations]
    paths += [task.model.tokenizer, task.validation_data.evaluations[0].class_names]
    assert all(path.startswith(str(tmp_path)) for path in paths)
    assert config.trainer.train_steps == 7


def test_experiment_in_the_default_directory_is_the_registered_one():
    registered = train.parse_config(
        train.parse_flags(
            ["--experiment=coca_tiny_digits", "--mode=train", "--model_dir=runs/demo/training"]
        )
    )
    config = digits_demo.experiment(pathlib.Path("runs/demo/data"))
    assert config.as_dict() == registered.as_dict()


def test_vocabulary_and_training_use_the_same_templates(tmp_path):
    source = digits_demo.experiment(tmp_path).task.train_data.sources[0]
    assert tuple(source.templates) == LABEL_TEMPLATES


def test_unknown_key_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="train_step"):
        digits_demo.experiment(tmp_path, "trainer.train_step=7")


def test_unknown_flag_is_one_line(capsys):
    assert run_program(digits_demo.main, ["--output=x"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_whole_demo_writes_scores_report_preset_and_saved_model(tmp_path, capsys):
    changes = {"trainer": {"train_steps": 4, "checkpoint_interval": 2, "validation_interval": 2}}
    changes["trainer"]["optimizer_config"] = {"learning_rate": {"warmup_steps": 1}}
    metrics = digits_demo.run_demo(tmp_path, changes, SMALL)
    assert KEYS <= set(metrics)
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert (tmp_path / "preset" / "config.json").exists()
    assert (tmp_path / "saved_model" / "1" / "saved_model.pb").exists()
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    again = digits_demo.run_demo(tmp_path, changes, SMALL)
    assert "the training is finished: step 4" in capsys.readouterr().out
    assert again == metrics
