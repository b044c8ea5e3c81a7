"""Prompts of token ids, open_clip's decoding rules and repeated options through `CoCa.generate`."""

import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from tests.tiny_models import BOS, EOS, MAX_LENGTH, PAD, random_images, tiny_coca


@pytest.fixture(scope="module")
def model():
    coca = tiny_coca()
    rng = np.random.default_rng(0)
    for weight in coca.trainable_variables:  # large enough for captions to differ by image
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    return coca


@pytest.fixture
def open_clip_model(model):
    model.open_clip_decoding = True
    yield model
    del model.open_clip_decoding


def next_token(model, images, token_ids):
    logits = model({"images": images, "token_ids": np.asarray(token_ids)})["logits"]
    return np.array(logits)[:, -1]


def test_pad_within_a_prompt_is_a_word_and_at_its_end_padding(model):
    images = random_images(2)
    prompt = np.array([[BOS, PAD, 7, PAD, PAD], [BOS, 9, PAD, 8, PAD]])
    captions = model.generate(images, prompt=prompt, max_length=7)
    assert captions[0, :3].tolist() == [BOS, PAD, 7]
    assert captions[1, :4].tolist() == [BOS, 9, PAD, 8]
    for image, length in ((0, 3), (1, 4)):
        alone = prompt[image : image + 1, :length]
        logits = next_token(model, images[image : image + 1], alone)[0]
        logits[[PAD, BOS]] = -np.inf
        assert captions[image, length] == logits.argmax()


@pytest.mark.parametrize("sampler", ["greedy", "beam", "open_clip_beam"])
def test_one_row_of_ids_is_the_prompt_of_every_image(model, sampler):
    images = random_images(3)
    one = model.generate(images, prompt=np.array([BOS, 7, 9]), sampler=sampler, max_length=7)
    each = model.generate(images, prompt=[[BOS, 7, 9]] * 3, sampler=sampler, max_length=7)
    np.testing.assert_array_equal(one, each)
    assert (one[:, :3] == [BOS, 7, 9]).all()


def test_padding_of_a_prompt_does_not_count_as_length(model):
    images = random_images(1)
    padded = np.array([[BOS, 7] + [PAD] * 20])
    np.testing.assert_array_equal(
        model.generate(images, prompt=padded, max_length=5),
        model.generate(images, prompt=padded[:, :2], max_length=5),
    )


@pytest.mark.parametrize(
    "prompt, message",
    [
        (np.full((1, 6), 7), "max_length=5 is smaller than the prompt of 6 tokens"),
        (np.full((3, 2), 7), "3 prompts for 2 images"),
        ([[BOS, 7], [BOS]], "neither text nor whole numbers"),
        (np.array([[BOS, 7.5]] * 2), "neither text nor whole numbers"),
        (np.full((2, 2, 2), 7), "neither text nor whole numbers"),
        ([BOS, 999], "token id 999.*0 to 39"),
        ([BOS, -1], "token id -1"),
        ([], "neither text nor whole numbers|prompts for 2 images"),
    ],
)
def test_prompt_that_does_not_fit_is_one_clear_line(model, prompt, message):
    if isinstance(prompt, np.ndarray) and prompt.shape == (1, 6):
        prompt = np.repeat(prompt, 2, axis=0)
    with pytest.raises(InvalidInputError, match=message) as error:
        model.generate(random_images(2), prompt=prompt, max_length=5)
    assert "\n" not in str(error.value)


def test_open_clip_rules_write_any_id_and_close_a_cut_row(open_clip_model):
    """An argmax loop over the full forward pass, with open_clip's rules spelled out."""
    images = random_images(6, seed=3)
    captions = open_clip_model.generate(images, min_length=3, repetition_penalty=1.3)
    rows = np.full((6, 1), BOS)
    while rows.shape[1] < MAX_LENGTH + 1:
        length = rows.shape[1]
        following = []
        for row, logits in zip(rows, next_token(open_clip_model, images, rows)):
            for token in set(row):
                logits[token] *= 1.3 if logits[token] < 0 else 1 / 1.3
            if length < 3:
                logits[EOS] = -np.inf
            chosen = EOS if length == MAX_LENGTH else logits.argmax()
            following.append(PAD if row[-1] in (EOS, PAD) else chosen)
        rows = np.concatenate([rows, np.array(following)[:, None]], axis=1)
    np.testing.assert_array_equal(captions, rows)


def test_changing_the_rules_changes_the_compiled_function(model):
    images = random_images(4, seed=5)
    own = model.generate(images, max_length=6)
    model.open_clip_decoding = True
    try:
        theirs = model.generate(images, max_length=6)
    finally:
        del model.open_clip_decoding
    np.testing.assert_array_equal(model.generate(images, max_length=6), own)
    assert (own != theirs).any()


def test_captions_are_the_same_with_and_without_scores(model):
    images = random_images(2)
    for sampler in ("greedy", "beam"):
        captions, scores = model.generate(images, sampler=sampler, return_scores=True)
        np.testing.assert_array_equal(captions, model.generate(images, sampler=sampler))
        assert scores.shape == (2,)
