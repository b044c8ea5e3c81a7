"""The program, on a tiny checkpoint and without peers."""

import json

import pytest

from benchmarks import run
from benchmarks.side_by_side.worker_process import ROOT
from official_coca.program import run_program

CHECKPOINT = str(ROOT / "tests" / "fixtures" / "open_clip" / "shared_pooler")
QUICK = ["--models", CHECKPOINT, "--repeats=1", "--seconds=0.01", "--threads=1"]


def test_measures_ours_alone(tmp_path, capsys):
    output = tmp_path / "results.json"
    flags = [*QUICK, "--only", "encode_text_1", f"--output={output}", f"--checkpoints={tmp_path}"]
    assert run_program(run.main, flags) == 0
    report = json.loads(output.read_text())
    (result,) = report["results"]
    (ours,) = result["contestants"]
    assert ours["label"] == "official_coca" and ours["flops"] > 0
    assert ours["seconds"]["median"] > 0 and ours["versions"]["keras"]
    assert report["machine"]["threads"] == 1 and report["machine"]["load_average"]
    assert "| encode_text_1 | shared_pooler | official_coca" in capsys.readouterr().out


def test_list_names_every_job(tmp_path, capsys):
    (tmp_path / "train.jsonl").touch()
    flags = ["--list", "--models", CHECKPOINT, "small", f"--captions={tmp_path}"]
    assert run_program(run.main, flags) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines}
    expected = "encode_image_32 encode_text_32 zero_shot_8 caption_greedy_1 caption_beam6_groups1_8"
    expected += " train_step_fixed_8 train_step_captions_8 input_pictures first_result memory_16"
    expected += " ablation_step ablation_step_captions train_step_lucidrains first_training_step"
    assert set(expected.split()) <= names
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--only", "captoin"], "no comparison is called 'captoin'"),
        (["--repeats=0"], "--repeats=0 must be 1 or more"),
        (["--captions=nowhere"], "--captions=nowhere has no train.jsonl"),
        (["--models", "small", "--only", "encode_*"], "give --peers-python, which can make it"),
        (["--models", CHECKPOINT, "--override", "remat"], "'remat' is not NAME=VALUE"),
        (["--peers-python=nothing/python", "--models", CHECKPOINT], "nothing/python"),
    ],
)
def test_bad_flag_gets_one_line(flags, message, tmp_path, capsys):
    assert run_program(run.main, [f"--checkpoints={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
