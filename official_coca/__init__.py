"""official_coca: the CoCa image-text foundation model for TensorFlow and Keras 3."""

import importlib
import os
import sys

# oneDNN's matrix products are up to twice as fast as Eigen's with transposed factors, as all
# gradients have them. TensorFlow reads this once, and by itself turns it on only where there is
# AVX-512. A value that is set stays.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"

# Imported when first used, so that importing the package costs nothing.
_LOCATIONS = {
    "AdamW": "official_coca.optimization.adamw",
    "CLIPTokenizer": "official_coca.preprocessing.clip_tokenizer",
    "CoCa": "official_coca.models.coca",
    "ImageConverter": "official_coca.preprocessing.image",
    "ImageTextPreprocessor": "official_coca.preprocessing.preprocessor",
    "InvalidInputError": "official_coca.errors",
    "SentencePieceTokenizer": "official_coca.preprocessing.tokenizer",
    "load": "official_coca.serving.loading",
}

__all__ = sorted(_LOCATIONS)


def __getattr__(name):
    if name not in _LOCATIONS:
        raise AttributeError(f"module 'official_coca' has no attribute {name!r}")
    return getattr(importlib.import_module(_LOCATIONS[name]), name)


def __dir__():
    return [*globals(), *__all__]
