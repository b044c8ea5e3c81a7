"""Random views depend on the seed alone, and without options equal the central path."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.augment import TrainingAugmentation, rand_augment
from official_coca.preprocessing.image import ImageConverter

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
CONVERTER = ImageConverter((12, 16))


def dataset_of_views(augmentation, count, picture=PICTURE):
    seeds = tf.stack([tf.range(count), tf.fill([count], 7)], axis=1)
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    return dataset.map(lambda seed: augmentation(picture, seed), num_parallel_calls=2)


def views(*arguments):
    return np.stack(list(dataset_of_views(*arguments)))


def test_without_options_the_view_is_the_central_path():
    for resize_mode in ("squash", "crop"):
        converter = ImageConverter((12, 16), resize_mode=resize_mode)
        view = TrainingAugmentation(converter, flip=False)(PICTURE, (1, 2))
        np.testing.assert_array_equal(view, converter(PICTURE))


@pytest.mark.parametrize("layers", [0, 2])
def test_equal_seeds_give_equal_views(layers):
    augmentation = TrainingAugmentation(CONVERTER, 20, rand_augment_num_layers=layers)
    dataset = dataset_of_views(augmentation, 12)
    first, second = np.stack(list(dataset)), np.stack(list(dataset))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first.reshape(12, -1), axis=0)) > 6
    assert first.dtype == np.float32 and first.shape == (12, 12, 16, 3)


def test_every_crop_is_a_window_of_the_resized_picture():
    rows, columns = np.mgrid[:24, :36]
    picture = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    augmentation = TrainingAugmentation(CONVERTER, (24, 36), flip=False)
    corners = set()
    pixels = np.rint((views(augmentation, 40, picture) * 0.5 + 0.5) * 255).astype(int)
    for view in pixels:
        top, left = map(int, view[0, 0, :2])
        np.testing.assert_array_equal(view, picture[top : top + 12, left : left + 16])
        corners.add((top, left))
    assert len(corners) > 30


def test_half_of_the_views_are_mirrored():
    mirrored = CONVERTER(PICTURE).numpy()[:, ::-1]
    drawn = views(TrainingAugmentation(CONVERTER), 60)
    flipped = [np.array_equal(view, mirrored) for view in drawn]
    assert 18 <= sum(flipped) <= 42


def test_rand_augment_operations_equal_model_garden_ones():
    """Each seed's result must be one of Model Garden's operations with either sign, or a cutout."""
    from official.vision.ops import augment

    picture = tf.constant(PICTURE)
    grey = [128] * 3
    strength = 0.7
    unsigned = {
        "AutoContrast": (), "Equalize": (), "Invert": (), "Posterize": (2,), "Solarize": (179,),
        "SolarizeAdd": (77,), "Color": (1.36,), "Contrast": (1.36,), "Brightness": (1.36,),
        "Sharpness": (1.36,),
    }  # fmt: skip
    signed = {"Rotate": 30, "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 100, "TranslateY": 100}
    expected = {"none": PICTURE}
    for name, arguments in unsigned.items():
        expected[name] = augment.NAME_TO_FUNC[name](picture, *arguments).numpy()
    for name, most in signed.items():
        for sign in (-1, 1):
            value = tf.constant(sign * most * strength, tf.float32)
            expected[name + "-+"[sign > 0]] = augment.NAME_TO_FUNC[name](
                picture, value, grey
            ).numpy()
    seen = {"Cutout": 0, **dict.fromkeys(expected, 0)}
    draw = tf.function(lambda seed: rand_augment(picture, seed, 1, 10 * strength))
    for index in range(250):
        result = draw(tf.constant([index, 3])).numpy().astype(int)
        difference = {name: np.abs(result - value).max() for name, value in expected.items()}
        names = [name for name, largest in difference.items() if largest <= 1]
        if not names:
            changed = (result != PICTURE).any(axis=-1)
            assert (result[changed] == 128).all(), index
            names = ["Cutout"]
        for name in names:
            seen[name] += 1
    missing = [name for name, count in seen.items() if not count]
    assert not missing, missing


def test_package_imports_model_garden_only_for_rand_augment():
    import ast
    import inspect

    from official_coca.preprocessing import augment

    module = ast.parse(inspect.getsource(augment))
    top_level = [node.module for node in module.body if isinstance(node, ast.ImportFrom)]
    assert not any(name.split(".")[0] == "official" for name in top_level)


def test_impossible_sizes_and_strengths_are_refused():
    with pytest.raises(InvalidInputError, match="resize_size.*smaller than image_size"):
        TrainingAugmentation(CONVERTER, (20, 15))
    with pytest.raises(InvalidInputError, match="rand_augment_magnitude=11"):
        TrainingAugmentation(CONVERTER, rand_augment_magnitude=11)
