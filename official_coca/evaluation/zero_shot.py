"""Zero-shot classification: an image belongs to the class whose name it embeds closest to.

The protocol is CLIP's (Radford et al. 2021, section 3.1.4): every class name is put into every
template, the prompts' L2-normalised embeddings are averaged, and the mean is normalised again.

Shapes: N images, C classes, T templates, E embedding width.
"""

import numpy as np

from official_coca.errors import InvalidInputError
from official_coca.evaluation.embeddings import embed_images, embed_texts


class ZeroShotEvaluator:
    """Scores a dual encoder as a classifier that was never told the classes.

    Args:
        dataset: iterable of {"images": (B, H, W, 3), "texts": rows}; the first text of a row is
            the name of the image's class.
        class_names: C distinct names; their order numbers the classes.
        templates: T prompts, each with one "{}" where the name goes.
        class_file: where the names come from, for messages.
        batch_size: prompts embedded at a time.
        verbose: whether to show progress.

    Returns, when called with a model: {"top1", "top5", "mean_per_class_accuracy"}. `details` then
    holds "class_names", "labels" (N,), "predictions" (N,), "top5" (N, 5), "per_class_accuracy"
    (C,) (NaN for a class without images), "image_embeddings" (N, E), "class_embeddings" (C, E).

    Example:

        evaluator = ZeroShotEvaluator(dataset, ["cat", "dog"], ["a photo of the {}"])
        print(evaluator(model)["top1"])
        details = evaluator.details
        print(confusion_matrix(details["labels"], details["predictions"], 2))
    """

    def __init__(
        self,
        dataset,
        class_names,
        templates=("a photo of the {}",),
        *,
        class_file="class_names",
        batch_size=256,
        verbose=False,
    ):
        self.dataset = dataset
        self.class_names = [str(name).strip() for name in class_names]
        self.templates = list(templates)
        self.class_file = str(class_file)
        self.batch_size = batch_size
        self.verbose = verbose
        self.details = {}
        check_class_names(self.class_names, self.class_file)
        _check_templates(self.templates)

    def __call__(self, model):
        class_embeddings = embed_classes(model, self.class_names, self.templates, self.batch_size)
        image_embeddings, texts = embed_images(model, self.dataset, self.verbose)
        labels = label_indices(texts, self.class_names, self.class_file)

        ranked = rank_classes(image_embeddings, class_embeddings, 5)
        per_class = per_class_accuracy(labels, ranked[:, 0], len(self.class_names))
        self.details = {
            "class_names": self.class_names,
            "labels": labels,
            "predictions": ranked[:, 0],
            "top5": ranked,
            "per_class_accuracy": per_class,
            "image_embeddings": image_embeddings,
            "class_embeddings": class_embeddings,
        }
        return {
            "top1": float(np.mean(ranked[:, 0] == labels)),
            "top5": float(np.mean(np.any(ranked == labels[:, None], axis=1))),
            "mean_per_class_accuracy": float(np.nanmean(per_class)),
        }


def embed_classes(model, class_names, templates, batch_size=256):
    """Returns the (C, E) class embeddings: normalised means over the templates."""
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    embeddings = embed_texts(model, prompts, batch_size)
    embeddings = _normalize(embeddings).reshape(len(class_names), len(templates), -1)
    return _normalize(embeddings.mean(axis=1))


def rank_classes(image_embeddings, class_embeddings, count, chunk_size=1024):
    """Returns (N, min(count, C)) class indices, best first; the lower index goes first in a tie."""
    ranked = []
    for start in range(0, len(image_embeddings), chunk_size):
        scores = image_embeddings[start : start + chunk_size] @ class_embeddings.T
        ranked.append(np.argsort(-scores, axis=1, kind="stable")[:, :count])
    return np.concatenate(ranked)


def label_indices(texts, class_names, class_file):
    """Returns the (N,) class indices of N rows of texts, by the first text of each row."""
    index_of = {name: index for index, name in enumerate(class_names)}
    indices = np.empty(len(texts), dtype=np.int64)
    for number, row in enumerate(texts):
        name = row[0].strip() if row else ""
        if name not in index_of:
            raise InvalidInputError(
                f"image {number} of the evaluation set has the label {name!r}, which is not among "
                f"the {len(class_names)} names of {class_file}; add it there or correct the label"
            )
        indices[number] = index_of[name]
    return indices


def confusion_matrix(labels, predictions, num_classes):
    """Returns (C, C) counts; the row is the true class, the column the predicted one."""
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def per_class_accuracy(labels, predictions, num_classes):
    """Returns (C,) shares of each class's images that were right; NaN for a class without any."""
    totals = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[labels == predictions], minlength=num_classes)
    return np.where(totals > 0, right / np.maximum(totals, 1), np.nan)


def _normalize(vectors):
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def check_class_names(class_names, class_file):
    """Raises `InvalidInputError` where C names are not distinct or one is empty."""
    if not class_names or "" in class_names:
        raise InvalidInputError(f"{class_file} has an empty or no class name; give one name a line")
    repeated = sorted({name for name in class_names if class_names.count(name) > 1})
    if repeated:
        raise InvalidInputError(
            f"{class_file} has the class name {repeated[0]!r} more than once; names must differ"
        )


def _check_templates(templates):
    if not templates:
        raise InvalidInputError("no prompt template was given; give one, say 'a photo of the {}'")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidInputError(
                f"the prompt template {template!r} needs exactly one {{}} for the class name"
            )
