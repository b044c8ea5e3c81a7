"""official_coca: the CoCa image-text foundation model for TensorFlow and Keras 3."""

import importlib
import os
import sys


def _set_up_tensorflow():
    """Sets what TensorFlow reads from the environment when it starts; values that are set stay."""
    if "tensorflow" in sys.modules:
        return
    # oneDNN's matrix products are up to twice as fast as Eigen's with transposed factors, as all
    # gradients have them. By itself TensorFlow turns it on only where there is AVX-512.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # An allocator that keeps what is freed. The system's gives large blocks back, so that the pages
    # of the next one are mapped and cleared anew, which takes longer than most passes over them.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    if hasattr(os, "sysconf"):  # all of the memory, where TensorFlow would stop at 64 GB
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(memory // 2**20))


_set_up_tensorflow()

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
