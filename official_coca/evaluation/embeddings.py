"""Turns a data set into image embeddings, and lists of strings into text embeddings.

Shapes: B examples of a batch, N images, T texts, E embedding width.
"""

import keras
import numpy as np

from official_coca.errors import InvalidInputError
from official_coca.models.protocols import DualEncoder


def batches(dataset, verbose=False):
    """Yields (images (B, H, W, 3), list of B lists of str) of every batch of `dataset`.

    Args:
        dataset: iterable of {"images": (B, H, W, 3), "texts": B rows of one or several strings}.
            The rows may be a ragged or dense string tensor, an array or nested lists.
        verbose: whether a progress bar counts the images.
    """
    progress = keras.utils.Progbar(target=None, unit_name="image") if verbose else None
    seen = 0
    for batch in dataset:
        texts = text_rows(batch["texts"])
        if len(texts) != len(batch["images"]):
            raise InvalidInputError(
                f"a batch has {len(batch['images'])} images and {len(texts)} rows of texts; "
                "give every image its own row"
            )
        yield batch["images"], texts
        seen += len(texts)
        if progress:
            progress.update(seen)
    if progress:
        print()
    if not seen:
        raise InvalidInputError("the evaluation data set is empty; check its files and filters")


def text_rows(texts):
    """Returns rows of strings, from whatever form a batch has them in, as a list of lists of str.

    Empty strings, which pad the rows of a dense tensor, are dropped.
    """
    if hasattr(texts, "to_list"):  # tf.RaggedTensor
        texts = texts.to_list()
    elif hasattr(texts, "numpy"):
        texts = texts.numpy()
    rows = ([row] if isinstance(row, (str, bytes)) else row for row in texts)
    decoded = (
        [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in row]
        for row in rows
    )
    return [[text for text in row if text.strip()] for row in decoded]


def embed_images(model, dataset, verbose=False):
    """Returns (N, E) float32 embeddings of all images and their texts, a list of N lists."""
    _require_dual_encoder(model)
    embeddings, texts = [], []
    for images, rows in batches(dataset, verbose):
        embeddings.append(keras.ops.convert_to_numpy(model.encode_image(images)))
        texts.extend(rows)
    return np.concatenate(embeddings).astype("float32"), texts


def embed_texts(model, texts, batch_size=256, verbose=False):
    """Returns (T, E) float32 embeddings of a list of T strings."""
    _require_dual_encoder(model)
    progress = keras.utils.Progbar(len(texts), unit_name="text") if verbose else None
    embeddings = []
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        embeddings.append(keras.ops.convert_to_numpy(model.encode_text(part)))
        if progress:
            progress.update(start + len(part))
    return np.concatenate(embeddings).astype("float32")


def _require_dual_encoder(model):
    if not isinstance(model, DualEncoder):
        raise InvalidInputError(
            f"{type(model).__name__} has no encode_image and encode_text; this evaluation needs a "
            "model that embeds images and texts in one space"
        )
