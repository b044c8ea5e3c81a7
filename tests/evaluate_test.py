"""The evaluation program, on a few digits and a model of some thousand weights."""

import json
import os

import pytest

from official_coca import assembly, evaluate
from official_coca.configs.coca import coca_tiny_digits
from official_coca.program import run_program
from tests.digits_data import make_digits_data, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_digits_data(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def preset(data, tmp_path_factory):
    config = coca_tiny_digits()
    config.override(tiny_config(data))
    directory = tmp_path_factory.mktemp("model") / "preset"
    assembly.build_model(config.task).save_to_preset(directory)
    return directory


def run(preset, data, task, output, *flags):
    shards = "labels-test-*" if task == "zero_shot" else "scenes-test-*"
    return run_program(
        evaluate.main,
        [
            f"--model={preset}",
            f"--task={task}",
            f"--data={data / shards}",
            f"--output={output}",
            *flags,
        ],
    )


@pytest.mark.parametrize(
    "task, flags, metrics",
    [
        ("zero_shot", ["--class_names={data}/classes.txt"], ["top1", "top5"]),
        ("retrieval", ["--max_examples=5"], ["i2t_r1", "t2i_r10"]),
        ("captioning", ["--sampler=beam", "--num_beams=2", "--no_java"], ["exact_match", "cider"]),
    ],
)
def test_scores_are_printed_and_written(preset, data, tmp_path, capsys, task, flags, metrics):
    output = tmp_path / "new" / "metrics.json"
    flags = [flag.format(data=data) for flag in flags]
    assert run(preset, data, task, output, *flags) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["task"] == task and report["model"] == str(preset)
    printed = capsys.readouterr().out
    for metric in metrics:
        assert 0 <= report["metrics"][metric] <= 10
        assert metric in printed
    if task == "captioning":
        assert report["settings"] == {"sampler": "beam", "num_beams": 2}
        assert report["tokenizer"] == "simple"


@pytest.mark.parametrize(
    "task, flags, words",
    [
        ("zero_shot", [], ["--class_names"]),
        ("zero_shot", ["--class_names=no/such.txt"], ["no/such.txt"]),
        ("retrieval", ["--sampler=beam"], ["--sampler is for --task=captioning"]),
        ("retrieval", ["--data=no/such-*"], ["no/such-*"]),
        ("retrieval", ["--model=no/such"], ["no/such", "coca_tiny"]),
        ("retrieval", ["--model=coca_tiny"], ["coca_tiny", "no tokenizer"]),
        ("retrieval", ["--batch_size=0"], ["--batch_size=0"]),
        ("retrieval", ["--batch_siz=1"], ["--batch_siz"]),
        ("captioning", ["--sampler=fastest"], ["fastest"]),
        ("vqa", [], ["vqa", "zero_shot"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(preset, data, tmp_path, capsys, task, flags, words):
    output = tmp_path / "metrics.json"
    assert run(preset, data, task, output, *flags) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
    assert not output.exists()


def test_pipe_is_refused_before_the_model_is_loaded_and_a_link_stays(tmp_path, capsys):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    assert run("no/such", tmp_path, "retrieval", pipe) == 2
    assert f"--output={pipe} is a device, a pipe or a socket" in capsys.readouterr().err
    assert pipe.is_fifo()
    link.symlink_to("target")
    evaluate.write_json(link, {"top1": 0.5})
    assert link.is_symlink() and json.loads((tmp_path / "target").read_text()) == {"top1": 0.5}
