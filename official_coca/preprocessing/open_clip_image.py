"""Reads open_clip's `preprocess_cfg`: which `ImageConverter` equals its evaluation transform.

Names, defaults and rules are those of open_clip 3.3.0, `open_clip/transform.py`.
"""

from official_coca.errors import InvalidInputError

# OPENAI_DATASET_MEAN and OPENAI_DATASET_STD of open_clip/constants.py.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

_DEFAULT_SIZE = 224
_KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
_RESIZE_MODES = {"shortest": "crop", "longest": "pad", "squash": "squash"}
# "random" draws one in training; evaluation is bicubic then.
_INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def converter_arguments(preprocess_cfg, image_size=None):
    """Returns the keyword arguments of the `ImageConverter` that equals open_clip's transform.

    Args:
        preprocess_cfg: the entry of that name in an `open_clip_config.json`, a dict; what it lacks
            takes open_clip's defaults.
        image_size: the model's size, which open_clip puts before the `size` of the dict.

    Raises:
        InvalidInputError: for a key or a value that open_clip does not know.
    """
    if not isinstance(preprocess_cfg, dict):
        raise InvalidInputError(f"preprocess_cfg={preprocess_cfg!r} must be a dict")
    unknown = sorted(str(key) for key in preprocess_cfg if key not in _KEYS)
    if unknown:
        raise InvalidInputError(
            f"preprocess_cfg has unknown keys {', '.join(unknown)}; open_clip's are "
            f"{', '.join(_KEYS)}"
        )
    given = {key: value for key, value in preprocess_cfg.items() if value not in (None, "")}
    _choice(given, "mode", {"RGB": "RGB"}, "RGB")
    size = _pair(image_size or given.get("size", _DEFAULT_SIZE))
    resize_mode = _choice(given, "resize_mode", _RESIZE_MODES, "shortest")
    interpolation = _choice(given, "interpolation", _INTERPOLATIONS, "bicubic")
    if resize_mode == "crop" and size[0] != size[1]:
        interpolation = "bicubic"  # open_clip does not hand its choice on to this one transform
    return {
        "image_size": size,
        "mean": _triple(given, "mean", OPENAI_MEAN),
        "std": _triple(given, "std", OPENAI_STD),
        "interpolation": interpolation,
        "resize_mode": resize_mode,
        "resampler": "pillow",
        "fill_color": given.get("fill_color", 0),
    }


def _choice(given, key, choices, default):
    value = given.get(key, default)
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(
            f"preprocess_cfg: {key}={value!r} is unknown; choose one of {', '.join(choices)}"
        )
    return choices[value]


def _pair(size):
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)


def _triple(given, key, default):
    """Returns one number per channel; open_clip takes nothing and 0 for its default."""
    values = given.get(key) or default
    return (values,) * 3 if isinstance(values, (int, float)) else values
