"""Random views of a training picture, each a pure function of its seed.

Shapes: h x w pixels as stored, H x W pixels as the model wants them.
"""

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.compiled_frames import fast_resize
from official_coca.preprocessing.image import size_pair

# The operations of RandAugment (arXiv 1909.13719) by Model Garden's names. Those of the first
# group take one argument that depends on the magnitude, and the second group gives it a random
# sign; AutoContrast, Equalize and Invert take none. Cutout draws a random centre.
_MAGNITUDE_OPERATIONS = (
    "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness"
)  # fmt: skip
_SIGNED_OPERATIONS = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
_PLAIN_OPERATIONS = ("AutoContrast", "Equalize", "Invert")
_MAXIMUM_MAGNITUDE = 10.0
_CUTOUT_PIXELS = 40
_TRANSLATE_PIXELS = 100
_GREY = [128, 128, 128]


class TrainingAugmentation:
    """Resize, random crop, random flip, and optionally RandAugment, as ALIGN and CoCa train.

    ALIGN (arXiv 2102.05918) resizes to 346 and crops 289. With nothing random switched on the
    result is exactly `image_converter(image)`, so training and evaluation cannot drift apart. For
    input pipelines: what it traces cannot be exported.

    Args:
        image_converter: the `ImageConverter` of the preprocessor; gives size and normalisation.
        resize_size: one number or (h, w) to resize to before the random crop to (H, W); `None`
            resizes to (H, W) and does not crop.
        flip: whether half of the pictures are mirrored; not for pictures with digits or writing,
            or captions with left and right.
        rand_augment_num_layers: RandAugment operations for each picture; 0 means none.
        rand_augment_magnitude: their strength in 0..10.
    """

    def __init__(
        self,
        image_converter,
        resize_size=None,
        flip=True,
        rand_augment_num_layers=0,
        rand_augment_magnitude=10.0,
    ):
        self.image_converter = image_converter
        crop_size = image_converter.image_size
        self.resize_size = size_pair(
            crop_size if resize_size is None else resize_size, "resize_size"
        )
        if self.resize_size[0] < crop_size[0] or self.resize_size[1] < crop_size[1]:
            raise InvalidInputError(
                f"resize_size={self.resize_size} is smaller than image_size={crop_size}; "
                "raise it, or leave it out to train without random crops"
            )
        if not 0 <= rand_augment_magnitude <= _MAXIMUM_MAGNITUDE:
            raise InvalidInputError(
                f"rand_augment_magnitude={rand_augment_magnitude} is outside 0..10"
            )
        self._resize = fast_resize(image_converter, self.resize_size)
        self.flip = flip
        self.rand_augment_num_layers = rand_augment_num_layers
        self.rand_augment_magnitude = rand_augment_magnitude

    def __call__(self, image, seed):
        """Returns the normalised view (H, W, 3) float32.

        Args:
            image: (h, w, 3) uint8.
            seed: (2,) integers; equal seeds give equal views.
        """
        crop_seed, flip_seed, policy_seed = tf.unstack(tf.random.split(seed, 3))
        image = self._resize(image)
        crop_size = self.image_converter.image_size
        if self.resize_size != crop_size:
            image = tf.image.stateless_random_crop(image, (*crop_size, 3), crop_seed)
        if self.flip:
            image = tf.image.stateless_random_flip_left_right(image, flip_seed)
        if self.rand_augment_num_layers:
            image = rand_augment(
                tf.cast(tf.round(image), tf.uint8),
                policy_seed,
                self.rand_augment_num_layers,
                self.rand_augment_magnitude,
            )
            image = tf.ensure_shape(tf.cast(image, tf.float32), (*crop_size, 3))
        return self.image_converter.normalize(image)


@tf.autograph.experimental.do_not_convert  # nothing to convert, and tracing is many times faster
def rand_augment(image, seed, num_layers=2, magnitude=10.0):
    """Returns the picture (H, W, 3) uint8 after `num_layers` random operations.

    The operations and their strengths are those of `official.vision.ops.augment.RandAugment`. Its
    own draws are stateful and so differ from run to run; here operation, sign and place come from
    the seed.
    """
    for layer_seed in tf.unstack(tf.random.split(seed, num_layers)):
        operations = _rand_augment_operations(image, layer_seed, magnitude)
        choice_seed = tf.random.fold_in(layer_seed, 0)
        # One choice more than there are operations: the picture as it is.
        choice = tf.random.stateless_uniform(
            [], choice_seed, 0, len(operations) + 1, dtype=tf.int32
        )
        image = tf.switch_case(choice, operations, default=lambda image=image: tf.identity(image))
    return image


def _rand_augment_operations(image, seed, magnitude):
    """Returns one function without arguments for each operation on this picture."""
    from official.vision.ops import augment  # heavy, and needed by this option only

    sign_seed, centre_seed = tf.random.fold_in(seed, 1), tf.random.fold_in(seed, 2)
    sign = 2.0 * tf.cast(tf.random.stateless_uniform([], sign_seed) < 0.5, tf.float32) - 1.0
    strength = magnitude / _MAXIMUM_MAGNITUDE
    enhancement = 1.8 * strength + 0.1
    arguments = {
        "Posterize": int(4 * strength),
        "Solarize": int(256 * strength),
        "SolarizeAdd": int(110 * strength),
        "Color": enhancement,
        "Contrast": enhancement,
        "Brightness": enhancement,
        "Sharpness": enhancement,
        "Rotate": 30.0 * strength * sign,
        "ShearX": 0.3 * strength * sign,
        "ShearY": 0.3 * strength * sign,
        "TranslateX": _TRANSLATE_PIXELS * strength * sign,
        "TranslateY": _TRANSLATE_PIXELS * strength * sign,
    }
    operations = []
    for name in _PLAIN_OPERATIONS:
        operations.append(lambda apply=augment.NAME_TO_FUNC[name]: apply(image))
    for name in _MAGNITUDE_OPERATIONS:
        operations.append(
            lambda apply=augment.NAME_TO_FUNC[name], argument=arguments[name]: apply(
                image, argument
            )
        )
    for name in _SIGNED_OPERATIONS:
        operations.append(
            lambda apply=augment.NAME_TO_FUNC[name], argument=arguments[name]: apply(
                image, argument, _GREY
            )
        )
    operations.append(lambda: _cutout(image, centre_seed, int(_CUTOUT_PIXELS * strength)))
    return operations


def _cutout(image, seed, half_side):
    """Returns the picture with a grey square around a random centre."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    size = tf.stack([height, width])
    centre = tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(size, tf.float32), tf.int32)
    offset_rows = tf.range(height) - centre[0]
    offset_columns = tf.range(width) - centre[1]
    rows = (offset_rows >= -half_side) & (offset_rows < half_side)
    columns = (offset_columns >= -half_side) & (offset_columns < half_side)
    square = rows[:, tf.newaxis, tf.newaxis] & columns[tf.newaxis, :, tf.newaxis]
    return tf.where(square, tf.constant(_GREY, tf.uint8), image)
