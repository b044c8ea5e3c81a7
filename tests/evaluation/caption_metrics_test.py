"""Tests of the caption scores against published values and small captions counted by hand."""

import json
import math
import subprocess

import pytest

from official_coca.evaluation import caption_metrics, caption_tokenizers
from tests.shared_data import shared_data_directory

needs_java = pytest.mark.skipif(
    caption_tokenizers.java_path() is None, reason="no Java program on PATH"
)
CAPTIONS = ["a red cat", "two dogs"]
REFERENCES = [["A red cat.", "a cat"], ["Two dogs run!"]]


def coco1000():
    directory = shared_data_directory("metric_reference")
    lines = (directory / "coco1000_fakecap.jsonl").read_text(encoding="utf-8").splitlines()
    expected = json.loads((directory / "coco1000_expected.json").read_text(encoding="utf-8"))
    return [json.loads(line) for line in lines], expected["corpus_scores_recomputed"]


def assert_equals_reference(scores, expected, tolerance):
    ours = {name.upper(): value for name, value in scores.items()}
    for name, value in expected.items():
        assert ours[name.upper()] == pytest.approx(value, abs=tolerance), name


def test_scores_of_tokenized_coco_captions_equal_the_reference():
    rows, expected = coco1000()
    scores = caption_metrics.score_tokenized_captions(
        [row["candidate_tok"] for row in rows], [row["references_tok"] for row in rows]
    )
    del expected["METEOR"]
    assert_equals_reference(scores, expected, 1e-6)


def test_scores_with_the_simple_tokenizer_are_within_a_thousandth_of_the_reference():
    rows, expected = coco1000()
    result = caption_metrics.score_captions(
        [row["candidate"] for row in rows], [row["references"] for row in rows], use_java=False
    )
    del expected["METEOR"]
    assert_equals_reference(result.scores, expected, 1e-3)
    assert result.tokenizer == "simple"


@pytest.mark.slow
@needs_java
def test_scores_through_java_equal_the_reference():
    rows, expected = coco1000()
    result = caption_metrics.score_captions(
        [row["candidate"] for row in rows], [row["references"] for row in rows]
    )
    assert_equals_reference(result.scores, expected, 1e-6)
    assert (result.tokenizer, result.left_out) == ("ptb (java)", {})


def test_bleu_and_rouge_of_captions_counted_by_hand():
    scores = caption_metrics.score_tokenized_captions(["a b c"], [["a b d e"]])
    # Two of three words and one of two pairs match; the brevity penalty is exp(1 - 4/3).
    assert scores["bleu_1"] == pytest.approx(2 / 3 * math.exp(-1 / 3), abs=1e-6)
    assert scores["bleu_2"] == pytest.approx(math.sqrt(2 / 3 * 1 / 2) * math.exp(-1 / 3), abs=1e-6)
    # The longest common subsequence "a b": precision 2/3, recall 2/4, beta 1.2.
    precision, recall = 2 / 3, 2 / 4
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert scores["rouge_l"] == pytest.approx(expected)


def test_without_java_the_result_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(caption_tokenizers, "java_path", lambda: None)
    result = caption_metrics.score_captions(CAPTIONS, REFERENCES)
    assert result.tokenizer == "simple"
    assert set(result.scores) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    assert result.left_out == dict.fromkeys(("tokenizer", "meteor"), caption_metrics.NO_JAVA)


def test_a_failing_meteor_keeps_the_other_scores(monkeypatch):
    def fail(candidates, references):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(caption_tokenizers, "java_path", lambda: "java")
    monkeypatch.setattr(caption_tokenizers, "ptb_tokenize", lambda texts: texts)
    monkeypatch.setattr(caption_metrics, "meteor", fail)
    result = caption_metrics.score_captions(CAPTIONS, REFERENCES)
    assert "cider" in result.scores and "meteor" not in result.scores
    assert result.left_out == {"meteor": "METEOR failed: out of memory"}


def test_a_failing_java_tokenizer_falls_back_to_the_simple_one(monkeypatch):
    def fail(texts):
        raise subprocess.CalledProcessError(1, "java")

    monkeypatch.setattr(caption_tokenizers, "java_path", lambda: "java")
    monkeypatch.setattr(caption_tokenizers, "ptb_tokenize", fail)
    monkeypatch.setattr(caption_metrics, "meteor", lambda candidates, references: 0.5)
    result = caption_metrics.score_captions(CAPTIONS, REFERENCES)
    assert result.tokenizer == "simple"
    assert "the Java tokenizer failed" in result.left_out["tokenizer"]
    assert result.scores["bleu_1"] > 0.5 and result.scores["meteor"] == 0.5


def test_a_meteor_process_that_dies_is_reported_and_leaves_nothing_behind(monkeypatch):
    started = []

    class DyingMeteor(caption_metrics.Meteor):
        def __init__(self):
            super().__init__()
            started.append(self.meteor_p)

    real_popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda command, **options: real_popen(
            ["sh", "-c", "echo no heap >&2; read line; echo; read line"], **options
        ),
    )
    monkeypatch.setattr(caption_metrics, "Meteor", DyingMeteor)
    with pytest.raises(RuntimeError, match="no heap"):
        caption_metrics.meteor(["a cat"], [["a cat"]])
    assert started[0].poll() is not None
    assert started[0].stdout.closed and started[0].stderr.closed
