"""Tests of zero-shot classification."""

import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.evaluation import zero_shot
from tests.evaluation.stub_models import LookupDualEncoder, one_batch, picture

AXES = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 1]}


def test_class_embedding_is_the_normalised_mean_of_normalised_prompts():
    # The first prompt is ten times as long: unless normalised, it would outvote the other.
    vectors = {"a cat": [10, 0], "the cat": [0, 1], "a dog": [1, 0], "the dog": [1, 0]}
    model = LookupDualEncoder(vectors)
    embeddings = zero_shot.embed_classes(model, ["cat", "dog"], ["a {}", "the {}"])
    np.testing.assert_allclose(embeddings, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)


def test_templates_change_the_decision_as_an_ensemble():
    vectors = {"a cat": [1, 0, 0], "an old cat": [0, 1, 0], "a dog": [0.8, 0, 0.6]}
    vectors["an old dog"] = vectors["a dog"]
    dataset = one_batch([picture(1, 0, 0)], [["cat"]])
    evaluate = zero_shot.ZeroShotEvaluator
    model = LookupDualEncoder(vectors)
    assert evaluate(dataset, ["dog", "cat"], ["a {}"])(model)["top1"] == 1.0
    # Averaged with the second template, cat is at 0.71 and dog at 0.8.
    assert evaluate(dataset, ["dog", "cat"], ["a {}", "an old {}"])(model)["top1"] == 0.0


def test_scores_and_details_of_known_predictions():
    names = ["red", "green", "blue"]
    pictures = [picture(*AXES[name]) for name in ("red", "red", "green", "green", "green", "blue")]
    labels = [["red"], ["green"], ["green"], ["green"], ["green"], [" blue "]]
    evaluator = zero_shot.ZeroShotEvaluator(one_batch(pictures, labels), names, ["{}"])
    scores = evaluator(LookupDualEncoder(AXES))
    assert scores["top1"] == pytest.approx(5 / 6)
    assert scores["top5"] == 1.0
    assert scores["mean_per_class_accuracy"] == pytest.approx((1 + 3 / 4 + 1) / 3)
    details = evaluator.details
    matrix = zero_shot.confusion_matrix(details["labels"], details["predictions"], 3)
    assert matrix.tolist() == [[1, 0, 0], [1, 3, 0], [0, 0, 1]]
    np.testing.assert_allclose(details["per_class_accuracy"], [1, 3 / 4, 1])


def test_top5_counts_the_fifth_class_and_not_the_sixth():
    names = [f"class {number}" for number in range(8)]
    scores_of_classes = np.linspace(1.0, 0.3, 8)
    embeddings = np.stack([scores_of_classes, np.sqrt(1 - scores_of_classes**2)], axis=1)
    model = LookupDualEncoder(dict(zip(names, np.pad(embeddings, ((0, 0), (0, 1))), strict=True)))
    for name, expected in (("class 4", 1.0), ("class 5", 0.0)):
        dataset = one_batch([picture(1, 0, 0)], [[name]])
        assert zero_shot.ZeroShotEvaluator(dataset, names, ["{}"])(model)["top5"] == expected


def test_a_class_without_images_does_not_lower_the_mean_per_class():
    dataset = one_batch([picture(1, 0, 0)], [["red"]])
    evaluator = zero_shot.ZeroShotEvaluator(dataset, list(AXES), ["{}"])
    assert evaluator(LookupDualEncoder(AXES))["mean_per_class_accuracy"] == 1.0
    assert np.isnan(evaluator.details["per_class_accuracy"][1:]).all()


def test_chunks_do_not_change_the_ranking():
    generator = np.random.default_rng(0)
    images, classes = generator.normal(size=(37, 8)), generator.normal(size=(12, 8))
    np.testing.assert_array_equal(
        zero_shot.rank_classes(images, classes, 5, chunk_size=4),
        zero_shot.rank_classes(images, classes, 5),
    )


def test_an_unknown_label_is_named_with_its_class_file():
    dataset = one_batch([picture(1, 0, 0)], [["purple"]])
    evaluator = zero_shot.ZeroShotEvaluator(dataset, list(AXES), ["{}"], class_file="colours.txt")
    with pytest.raises(InvalidInputError, match="image 0 .*'purple'.*colours.txt"):
        evaluator(LookupDualEncoder(AXES))


def test_an_image_without_a_label_is_reported():
    evaluator = zero_shot.ZeroShotEvaluator(one_batch([picture(1, 0, 0)], [[]]), list(AXES), ["{}"])
    with pytest.raises(InvalidInputError, match="image 0 "):
        evaluator(LookupDualEncoder(AXES))


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ([], ["{}"], "no class name"),
        (["cat", "dog", "cat"], ["{}"], "'cat' more than once"),
        (["cat"], [], "no prompt template"),
        (["cat"], ["a photo"], "'a photo' needs exactly one {}"),
    ],
)
def test_bad_names_and_templates_are_reported_at_once(names, templates, message):
    with pytest.raises(InvalidInputError, match=message):
        zero_shot.ZeroShotEvaluator([], names, templates)
