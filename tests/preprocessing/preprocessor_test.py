"""The batch of a captioner: the shift, the limit, the buckets, the inputs it takes and refuses."""

import io
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.preprocessor import ImageTextPreprocessor

TEXTS = ["a red cat", "dog"]
LONG = "the red cat left of the blue dog above the green seven"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)


@pytest.fixture
def preprocessor(tokenizer):
    return ImageTextPreprocessor(tokenizer, ImageConverter((8, 12)), max_length=8)


@pytest.fixture
def bucketed(tokenizer):
    return ImageTextPreprocessor(tokenizer, ImageConverter((8, 12)), 12, length_buckets=(9, 6))


def encoded_pixels():
    files = [io.BytesIO() for _ in PIXELS]
    for file, pixels in zip(files, PIXELS):
        Image.fromarray(pixels).save(file, "PNG")
    return [file.getvalue() for file in files]


def test_targets_are_the_inputs_one_token_on(preprocessor, tokenizer):
    tokens = tokenizer.tokenize(TEXTS).to_list()
    inputs, targets, weights = map(np.array, preprocessor.captioning_pair(TEXTS))
    for row, ids in enumerate(tokens):
        count = len(ids) + 1
        assert inputs[row].tolist() == [2, *ids] + [0] * (8 - count)
        assert targets[row].tolist() == [*ids, 3] + [0] * (8 - count)
        assert weights[row].tolist() == [1.0] * count + [0.0] * (8 - count)
    assert inputs.dtype == targets.dtype == np.int32 and weights.dtype == np.float32
    np.testing.assert_array_equal(preprocessor.token_ids(TEXTS), inputs)


def test_a_cut_caption_is_not_taught_its_end(preprocessor, tokenizer):
    ids = tokenizer.tokenize(LONG).numpy().tolist()
    assert len(ids) > 8
    inputs, targets, weights = preprocessor.captioning_pair(tf.constant([LONG]))
    assert inputs.numpy().tolist() == [[2, *ids[:7]]]
    assert targets.numpy().tolist() == [ids[:8]]
    assert weights.numpy().tolist() == [[1.0] * 8]


def test_a_caption_that_just_fits_is_taught_its_end(tokenizer):
    ids = tokenizer.tokenize(LONG).numpy().tolist()
    preprocessor = ImageTextPreprocessor(tokenizer, ImageConverter(8), len(ids) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs, targets, _ = preprocessor.captioning_pair([LONG])
    assert inputs.numpy().tolist() == [[2, *ids]]
    assert targets.numpy().tolist() == [[*ids, 3]]


@pytest.mark.parametrize(
    "text, length", [("dog", 6), ("a red cat of left", 6), ("a red cat of left of", 9), (LONG, 12)]
)
def test_length_is_rounded_up_to_a_bucket(bucketed, text, length):
    texts = tf.constant(["cat", text])
    arrays = [bucketed.token_ids(texts), *bucketed.captioning_pair(texts)]
    assert {tuple(array.shape) for array in arrays} == {(2, length)}


def test_without_buckets_the_shape_is_static(preprocessor):
    dataset = tf.data.Dataset.from_tensors(TEXTS).map(preprocessor.token_ids)
    assert dataset.element_spec.shape[1] == 8


def test_trim_cuts_to_the_longest_row_and_keeps_the_rest(bucketed):
    wide = ImageTextPreprocessor(bucketed.tokenizer, bucketed.image_converter, 12)
    x, y, weights = wide({"images": PIXELS, "texts": TEXTS, "source_ids": [0, 1]})
    expected = bucketed.captioning_pair(TEXTS)
    trimmed, targets, trimmed_weights = tf.function(bucketed.trim)(x, y, weights)
    for actual, wanted in zip((trimmed["token_ids"], targets, trimmed_weights), expected):
        np.testing.assert_array_equal(actual, wanted)
    assert trimmed["source_ids"].numpy().tolist() == [0, 1] and x["token_ids"].shape == (2, 12)


def test_all_forms_of_a_raw_batch_agree(preprocessor):
    encoded = encoded_pixels()
    reference = preprocessor({"images": PIXELS, "texts": TEXTS})
    pair = tf.data.Dataset.from_tensor_slices((encoded, TEXTS)).batch(2)
    keyed = tf.data.Dataset.from_tensor_slices({"images": PIXELS, "texts": TEXTS}).batch(2)
    several = tf.ragged.constant([[TEXTS[0], "cat", "seven"], [TEXTS[1]]])
    forms = [
        preprocessor((encoded, np.array(TEXTS))),
        preprocessor(PIXELS, TEXTS),
        preprocessor(list(PIXELS), TEXTS),
        preprocessor({"images": PIXELS.astype(np.float32), "texts": several}),
        preprocessor((PIXELS, [[TEXTS[0], "cat"], [TEXTS[1], "dog"]])),
        preprocessor((PIXELS, several.to_tensor())),
        next(iter(pair.map(preprocessor))),
        next(iter(keyed.map(preprocessor))),
    ]
    for form in forms:
        for wanted, actual in zip(tf.nest.flatten(reference), tf.nest.flatten(form), strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-6)


def test_sample_weight_scales_the_rows(preprocessor):
    plain = preprocessor((PIXELS, TEXTS))[2].numpy()
    weighted = preprocessor(PIXELS, TEXTS, np.array([2.0, 0.5]))[2].numpy()
    np.testing.assert_array_equal(weighted, plain * [[2.0], [0.5]])


def test_source_ids_stay_with_the_batch(preprocessor):
    x, _, _ = preprocessor({"images": PIXELS, "texts": TEXTS, "source_ids": np.array([3, 1])})
    assert x["source_ids"].numpy().tolist() == [3, 1]


def test_prompts_have_no_end_and_a_mask(preprocessor, tokenizer):
    ids = tokenizer.tokenize("a red").numpy().tolist()
    token_ids, mask = preprocessor.generate_preprocess(["", "a red"])
    assert token_ids.numpy().tolist() == [[2] + [0] * len(ids), [2, *ids]]
    assert mask.numpy().tolist() == [[True] + [False] * len(ids), [True] * (len(ids) + 1)]
    assert preprocessor.generate_preprocess("")[0].numpy().tolist() == [[2]]


def test_generated_ids_become_texts(preprocessor):
    _, targets, _ = preprocessor.captioning_pair(TEXTS)
    assert preprocessor.generate_postprocess(targets) == TEXTS
    assert preprocessor.generate_postprocess(np.array([[2, 3, 9, 9]])) == [""]


def test_empty_text_is_named_by_its_index(preprocessor):
    for texts in (["a cat", " \n"], np.array(["a cat", ""]), ["a cat", b""]):
        with pytest.raises(InvalidInputError, match="text 1 is empty; give it words"):
            preprocessor.token_ids(texts)
    assert preprocessor.token_ids(tf.constant([""]))[0, 0] == 2  # tensors are not looked into


def test_long_text_is_cut_with_a_warning(preprocessor, tokenizer):
    count = tokenizer.tokenize(LONG).shape[0]
    message = rf"text 1 has {count} tokens and is cut to 7 \(max_length=8 with BOS\), as are 1 more"
    with pytest.warns(UserWarning, match=message):
        preprocessor.token_ids(["cat", LONG, LONG])
    with pytest.warns(UserWarning, match="text 0 has"):
        preprocessor.generate_preprocess(LONG)


@pytest.mark.parametrize(
    "batch, words",
    [
        ({"images": PIXELS, "captions": TEXTS}, "keys captions, images"),
        ({"images": PIXELS, "texts": TEXTS, "label": [1, 2]}, "keys images, label, texts"),
        (PIXELS, "not ndarray"),
        ((PIXELS[0], TEXTS), "images.None."),
        ((PIXELS.astype(np.int32), TEXTS), "dtype int32"),
        (([b"no picture", b""], TEXTS), "image 0"),
    ],
)
def test_wrong_batch_is_refused_in_one_line(preprocessor, batch, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        preprocessor(batch)
    assert "\n" not in str(caught.value)


def test_limits_are_checked(tokenizer):
    converter = ImageConverter(8)
    with pytest.raises(InvalidInputError, match="max_length=1"):
        ImageTextPreprocessor(tokenizer, converter, 1)
    with pytest.raises(InvalidInputError, match=r"length_buckets=\[4, 9\]"):
        ImageTextPreprocessor(tokenizer, converter, 8, (9, 4))


def test_config_alone_makes_an_equal_preprocessor(bucketed):
    config = keras.saving.serialize_keras_object(bucketed)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == bucketed.get_config()
    for wanted, actual in zip(bucketed.captioning_pair(TEXTS), copy.captioning_pair(TEXTS)):
        np.testing.assert_array_equal(actual, wanted)


def test_preset_directory_holds_what_the_config_leaves_out(bucketed, tmp_path):
    config = bucketed.get_config(include_assets=False)
    assert len(str(config)) < 1000
    bucketed.save_assets(tmp_path)
    assert (tmp_path / "assets" / "tokenizer" / "vocabulary.spm").is_file()
    copy = ImageTextPreprocessor.from_directory(config, tmp_path)
    assert copy.get_config() == bucketed.get_config()
    with pytest.raises(InvalidInputError, match="vocabulary.spm.*does not exist"):
        ImageTextPreprocessor.from_directory(config, tmp_path / "elsewhere")


def test_saved_model_takes_bytes_and_strings(preprocessor, tmp_path):
    module = tf.Module()
    module.preprocessor = preprocessor
    strings = tf.TensorSpec([None], tf.string)
    module.serve = tf.function(
        lambda images, texts: preprocessor((images, texts)), input_signature=[strings, strings]
    )
    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).serve(encoded_pixels(), TEXTS)
    wanted = preprocessor({"images": PIXELS, "texts": TEXTS})
    for expected, actual in zip(tf.nest.flatten(wanted), tf.nest.flatten(served), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.fixture(scope="module")
def clip_tokenizer():
    return CLIPTokenizer()


@pytest.fixture
def ended(clip_tokenizer):
    converter = ImageConverter((8, 12))
    return ImageTextPreprocessor(clip_tokenizer, converter, 8, texts_end_with_eos=True)


def test_texts_that_end_with_eos_are_open_clips_rows(ended, clip_tokenizer):
    cat, long = clip_tokenizer.tokenize(["a red cat", LONG]).to_list()
    texts = tf.constant(["a red cat", LONG, ""])
    rows = [[49406, *cat, 49407, 0, 0, 0], [49406, *long[:6], 49407], [49406, 49407] + [0] * 6]
    inputs, targets, weights = ended.captioning_pair(texts)
    assert inputs.numpy().tolist() == ended.token_ids(texts).numpy().tolist() == rows
    assert targets.numpy().tolist() == [[*row[1:], 0] for row in rows]
    assert weights.numpy().tolist() == [[1.0] * n + [0.0] * (8 - n) for n in (4, 7, 1)]


def test_exclamation_marks_weigh_as_much_as_other_tokens(clip_tokenizer):
    assert clip_tokenizer.tokenize("!a").numpy()[0] == 256  # "!" as a word of its own
    tokens = clip_tokenizer.tokenize("!\"!").numpy().tolist()
    assert tokens[0] == clip_tokenizer.pad_token_id
    for ends in (False, True):
        preprocessor = ImageTextPreprocessor(
            clip_tokenizer, ImageConverter(8), 12, (4, 8), texts_end_with_eos=ends
        )
        inputs, targets, weights = preprocessor.captioning_pair(['!"!', '"!" a'])
        wanted = len(tokens) + 1
        assert weights.numpy().sum(axis=1)[0] == wanted
        parts = (inputs, targets, weights)
        wide = [tf.pad(part, [[0, 0], [0, 12 - part.shape[1]]]) for part in parts]
        trimmed, _, _ = preprocessor.trim({"token_ids": wide[0]}, *wide[1:])
        np.testing.assert_array_equal(trimmed["token_ids"], inputs)


def test_trim_keeps_a_row_that_ends_in_the_pad_id(clip_tokenizer):
    preprocessor = ImageTextPreprocessor(clip_tokenizer, ImageConverter(8), 8, (2, 4))
    x = {"token_ids": tf.constant([[49406, 5, 0, 0, 0, 0, 0, 0]])}
    weights = tf.constant([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    trimmed, _, _ = preprocessor.trim(x, x["token_ids"], weights)
    assert trimmed["token_ids"].numpy().tolist() == [[49406, 5, 0, 0]]


def test_prompts_never_end_with_eos(ended, clip_tokenizer):
    token_ids, mask = ended.generate_preprocess(["", "a photo of"])
    photo = clip_tokenizer.tokenize("a photo of").numpy().tolist()
    assert token_ids.numpy().tolist() == [[49406] + [0] * 3, [49406, *photo]]
    assert mask.numpy().sum(axis=1).tolist() == [1, 4]
    with pytest.warns(UserWarning, match="is cut to 7 "):
        assert ended.generate_preprocess(LONG)[0].shape == (1, 8)
    with pytest.warns(UserWarning, match="is cut to 6 "):
        ended.token_ids([LONG])


def test_python_texts_are_cleaned_more_thoroughly_than_tensors(ended, clip_tokenizer):
    repaired = clip_tokenizer.tokenize("café").numpy().tolist()
    broken = "caf\u00c3\u00a9"
    forms = ([broken], [[broken, "cat"]], np.array([broken]), (broken,), [broken.encode()])
    for texts in forms:
        assert ended.token_ids(texts)[0].numpy().tolist()[1 : len(repaired) + 1] == repaired
    assert ended.generate_preprocess(broken)[0].numpy().tolist() == [[49406, *repaired]]
    assert ended.token_ids(tf.constant([broken]))[0, 2] != 49407


def test_generated_clip_ids_become_texts(ended):
    _, targets, _ = ended.captioning_pair(["a red cat!", "!!! dog"])
    assert ended.generate_postprocess(targets) == ["a red cat !", "!!! dog"]
    broken = [[49406, 222, 320, 49407, 320]]  # a byte that begins no character, then "a"
    assert ended.generate_postprocess(np.array(broken)) == ["\N{REPLACEMENT CHARACTER}a"]


def test_preset_of_either_tokenizer_round_trips(ended, bucketed, tmp_path):
    for preprocessor, file in ((ended, "merges.txt"), (bucketed, "vocabulary.spm")):
        directory = tmp_path / file
        preprocessor.save_assets(directory)
        assert (directory / "assets" / "tokenizer" / file).is_file()
        config = preprocessor.get_config(include_assets=False)
        assert config["tokenizer_class"] == type(preprocessor.tokenizer).__name__
        copy = ImageTextPreprocessor.from_directory(config, directory)
        assert copy.get_config() == preprocessor.get_config()
    with pytest.raises(InvalidInputError, match="needs the tokenizer 'Other'; this version has CL"):
        ImageTextPreprocessor.from_directory({**config, "tokenizer_class": "Other"}, tmp_path)


def test_presets_that_do_not_name_their_tokenizer_have_sentence_piece(bucketed, tmp_path):
    bucketed.save_assets(tmp_path)
    config = bucketed.get_config(include_assets=False)
    del config["tokenizer_class"], config["texts_end_with_eos"]
    copy = ImageTextPreprocessor.from_directory({**config, "tokenizer": None}, tmp_path)
    assert copy.get_config() == bucketed.get_config()


def test_config_alone_makes_an_equal_clip_preprocessor(ended):
    config = keras.saving.serialize_keras_object(ended)
    assert len(str(config)) < 2000
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == ended.get_config() and copy.texts_end_with_eos
