"""Tests of the captioning evaluator."""

import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.evaluation.captioning import CaptioningEvaluator, exact_matches
from tests.evaluation.stub_models import LookupDualEncoder, ScriptedCaptioner, one_batch, picture


def dataset(*references):
    return one_batch([picture(number, 0, 0) for number in range(len(references))], references)


def test_exact_match_folds_case_and_white_space_and_takes_any_reference():
    captions = ["a  Red\tthree ", "a red three", "a red three", ""]
    references = [["a red three"], ["a seven", "A red three"], ["a red three."], ["a"]]
    assert exact_matches(captions, references).tolist() == [True, True, False, False]


def test_evaluator_scores_what_the_model_writes():
    model = ScriptedCaptioner(["a red three", "a blue nine"])
    evaluator = CaptioningEvaluator(dataset(["a red three"], ["a blue one"]), use_java=False)
    scores = evaluator(model)
    assert scores["exact_match"] == 0.5
    assert scores["bleu_1"] == pytest.approx(5 / 6, abs=1e-6)
    assert set(scores) > {"bleu_4", "rouge_l", "cider"} and "meteor" not in scores
    assert evaluator.details["captions"] == ["a red three", "a blue nine"]
    assert evaluator.details["references"] == [["a red three"], ["a blue one"]]
    assert evaluator.details["tokenizer"] == "simple"
    assert evaluator.details["left_out"]["meteor"] == "Java was switched off"


def test_exact_match_alone_is_computed_without_the_language_metrics():
    evaluator = CaptioningEvaluator(dataset(["a"]), language_metrics=False)
    assert evaluator(ScriptedCaptioner(["A"])) == {"exact_match": 1.0}
    assert "tokenizer" not in evaluator.details


def test_generate_arguments_reach_the_model():
    model = ScriptedCaptioner(["a"])
    CaptioningEvaluator(dataset(["a"]), language_metrics=False, sampler="beam", max_length=9)(model)
    assert model.arguments == {"prompt": None, "sampler": "beam", "max_length": 9}


def test_an_image_without_reference_is_named():
    evaluator = CaptioningEvaluator(dataset(["a"], [""]))
    with pytest.raises(InvalidInputError, match="image 1 .*no reference"):
        evaluator(ScriptedCaptioner(["a", "b"]))


def test_a_model_that_writes_token_ids_is_told_to_attach_a_preprocessor():
    model = ScriptedCaptioner(["a"])
    model.generate = lambda images: np.zeros((len(images), 4), int)
    with pytest.raises(InvalidInputError, match="attach a preprocessor"):
        CaptioningEvaluator(dataset(["a"]))(model)


def test_a_model_that_does_not_generate_is_named():
    with pytest.raises(InvalidInputError, match="LookupDualEncoder does not generate"):
        CaptioningEvaluator(dataset(["a"]))(LookupDualEncoder({}))
