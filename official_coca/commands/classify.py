"""Sorts images into classes that are given by name, without training on them.

    coca classify photos/ --labels=cat,dog,"ice cream" --top=1

prints `path<TAB>label<TAB>probability[<TAB>label<TAB>probability ...]` for every image, the
likeliest label first. With --json every line is an object {"image": path, "labels": [{"label":
name, "probability": number}, ...]}. The probabilities of all labels sum to one: they are the
softmax of the similarities between the image and the labels. An image that cannot be used is
named on stderr, and with --json also as {"image": path, "error": reason}; the others go on, and
the exit code is 1.
"""

import sys

from official_coca.commands import image_files, model_flag, results
from official_coca.commands.text_arguments import read_lines
from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser, run_program, split_names, text_argument

DEFAULT_TEMPLATES = ("a photo of a {}.",)  # CLIP's (Radford et al. 2021, section 3.1.4)


def main(arguments):
    flags = _parse(arguments)
    labels = _labels(flags)
    files = image_files.find_images(flags.images)
    if image_files.has_candidates(files):
        classified = _classified(files, labels, flags)
    else:
        classified = image_files.unusable(files)
    with results.Results(len(files), flags.json) as printed:
        for file, ranked, problem in classified:
            if problem:
                printed.skip(file.path, problem)
                continue
            record = [{"label": label, "probability": share} for label, share in ranked]
            fields = [text for label, share in ranked for text in (label, f"{share:.4f}")]
            printed.add({"image": file.path, "labels": record}, [file.path, *fields])
    return printed.exit_code()


def class_probabilities(embeddings, class_embeddings, temperature):
    """Returns how likely each class is for each image.

    Args:
        embeddings: (B, E) of B images, length one each.
        class_embeddings: (C, E) of C classes, length one each.
        temperature: of the model.

    Returns:
        (B, C), rows that sum to one.
    """
    import numpy as np

    logits = embeddings @ class_embeddings.T / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _classified(files, labels, flags):
    import keras
    import numpy as np

    from official_coca.commands.image_stream import run_on_images
    from official_coca.evaluation.zero_shot import check_class_names, embed_classes

    check_class_names(labels, flags.labels_file or "--labels")
    templates = _templates(flags.templates)
    model = model_flag.load_model(model_flag.chosen_model(flags.model, model_flag.EMBEDDING_MODEL))
    class_embeddings = embed_classes(model, labels, templates, flags.batch_size)
    temperature = float(model.temperature)

    def predict(images):
        embeddings = keras.ops.convert_to_numpy(model.encode_image(images))
        probabilities = class_probabilities(embeddings, class_embeddings, temperature)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : flags.top]
        return [
            [(labels[label], float(row[label])) for label in best]
            for row, best in zip(probabilities, order)
        ]

    yield from run_on_images(model, files, predict, flags.batch_size)


def _labels(flags):
    if flags.labels is not None:
        return split_names(flags.labels, "--labels")
    return read_lines(flags.labels_file, "--labels_file")


def _templates(flag):
    from official_coca.preprocessing.prompts import CLIP_TEMPLATES, load_templates

    if flag is None:
        return DEFAULT_TEMPLATES
    if flag.lower().endswith(image_files.IMAGE_EXTENSIONS):
        raise InvalidInputError(
            f"--templates took the image {flag!r} for its file; write --templates=clip"
        )
    return load_templates(CLIP_TEMPLATES if flag == "clip" else flag)


def _parse(arguments):
    parser = ArgumentParser(prog="coca classify", description=__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=image_files.HELP)
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument(
        "--labels", type=text_argument, metavar="A,B,C", help="names of the classes"
    )
    labels.add_argument(
        "--labels_file", metavar="FILE", help="text file, one name a line, for names with commas"
    )
    parser.add_argument(
        "--templates",
        nargs="?",
        const="clip",
        metavar="FILE",
        help=f"sentences to put the names into and average over: a text file with one a line, {{}} "
        f"where the name goes, or clip for the 80 of CLIP; default: {DEFAULT_TEMPLATES[0]!r}",
    )
    parser.add_argument("--top", type=int, default=5, help="labels shown of an image (5)")
    model_flag.add_model_flag(parser, model_flag.ELSE.format(model_flag.EMBEDDING_MODEL))
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--json", action="store_true", help=results.HELP)
    flags = parser.parse_intermixed_args(arguments)
    for name in ("top", "batch_size"):
        if getattr(flags, name) < 1:
            raise InvalidInputError(f"--{name}={getattr(flags, name)}: must be at least 1")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
