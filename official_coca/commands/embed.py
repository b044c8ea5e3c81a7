"""Embeds images and texts in their common space.

    coca embed photos/ "a dog on a beach" --output=embeddings.npz

writes `embeddings` (N, E) float32 of length one, `names` (N,), a path or a text, and `kinds`
(N,), "image" or "text", in the order of the arguments. The file is written whole or not at all.
With --json every line of stdout is {"image": path, "embedding": [...]} or {"text": text,
"embedding": [...]}. An image that cannot be used is named on stderr, and with --json also as
{"image": path, "error": reason}; it has no row, the others go on, and the exit code is 1.

An argument is an image if it is a file, a directory or a glob that exists, else a text; one that
looks like a path and does not exist is an error.
"""

import sys

from official_coca.commands import image_files, model_flag, results
from official_coca.commands.text_arguments import check_text, read_lines
from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser, run_program
from official_coca.saving.whole_file import WholeFile

_CHARACTER_BYTES = 4  # in an array of strings
_MOST_BYTES_OF_NAMES = 2**30


def main(arguments):
    flags = _parse(arguments)
    inputs = _inputs(flags)
    if flags.output is not None:
        _check_names(inputs)
    files = [value for kind, value in inputs if kind == "image"]
    texts = [value for kind, value in inputs if kind == "text"]
    if not texts and not image_files.has_candidates(files):
        outcomes = ((None, problem) for _, _, problem in image_files.unusable(files))
        return _write(inputs, outcomes, flags, None)
    if flags.output is None:
        return _write(inputs, _embeddings(inputs, files, texts, flags), flags, None)
    # A path that cannot be written must not be found out after an hour of embedding.
    with WholeFile(flags.output, "--output") as file:
        return _write(inputs, _embeddings(inputs, files, texts, flags), flags, file)


def _check_names(inputs):
    """Raises `InvalidInputError` where the array of names, each as wide as the longest, is huge."""
    longest = max((_name(value) for _, value in inputs), key=len)
    needed = len(inputs) * len(longest) * _CHARACTER_BYTES
    if needed > _MOST_BYTES_OF_NAMES:
        raise InvalidInputError(
            f"the input {longest[:20]!r}... has {len(longest):,} characters, and the file of "
            f"--output gives each of the {len(inputs):,} inputs as much room, "
            f"{needed / 2**30:.1f} GiB; shorten it, or give --json without --output"
        )


def _name(value):
    return value.path if isinstance(value, image_files.ImageFile) else value


def _write(inputs, outcomes, flags, output):
    rows = []
    with results.Results(len(inputs), flags.json, unit="input") as printed:
        for (kind, value), (embedding, problem) in zip(inputs, outcomes):
            name = _name(value)
            if problem:
                printed.skip(name, problem)
                continue
            if output is not None:
                rows.append((embedding, name, kind))
            if flags.json:
                printed.add({kind: name, "embedding": embedding.tolist()}, [])
            else:
                printed.count()
    if rows:
        _save(output, rows)
        print(f"wrote {flags.output}: {len(rows)} embeddings", file=sys.stderr)
    return printed.exit_code()


def _save(output, rows):
    import numpy as np

    embeddings, names, kinds = zip(*rows)
    output.write(
        lambda file: np.savez(
            file,
            embeddings=np.stack(embeddings).astype("float32"),
            names=np.array(names),
            kinds=np.array(kinds),
        )
    )


def _embeddings(inputs, files, texts, flags):
    """Yields (embedding or None, problem or None) of every input, in order."""
    import keras

    from official_coca.commands.image_stream import run_on_images
    from official_coca.evaluation.embeddings import embed_texts

    model = model_flag.load_model(model_flag.chosen_model(flags.model, model_flag.EMBEDDING_MODEL))
    of_images = run_on_images(
        model,
        files,
        lambda images: keras.ops.convert_to_numpy(model.encode_image(images)),
        flags.batch_size,
    )
    of_texts = iter(embed_texts(model, texts, flags.batch_size) if texts else ())
    for kind, _ in inputs:
        if kind == "text":
            yield next(of_texts), None
        else:
            _, embedding, problem = next(of_images)
            yield embedding, problem


def _inputs(flags):
    """(kind, `ImageFile` or text) of everything that was given, in order."""
    inputs = []
    for argument in flags.inputs:
        if image_files.is_image_argument(argument):
            inputs.extend(("image", file) for file in image_files.find_images([argument]))
        else:
            inputs.append(("text", argument))
    inputs.extend(("text", text) for text in flags.text)
    if flags.texts_file is not None:
        inputs.extend(("text", text) for text in read_lines(flags.texts_file, "--texts_file"))
    for kind, text in inputs:
        if kind == "text":
            check_text(text)
    if not inputs:
        raise InvalidInputError("nothing to embed; give images, texts, --text or --texts_file")
    return inputs


def _parse(arguments):
    parser = ArgumentParser(prog="coca embed", description=__doc__)
    parser.add_argument("inputs", nargs="*", metavar="IMAGE|TEXT", help=image_files.HELP)
    parser.add_argument("--text", action="append", default=[], help="a text; may be repeated")
    parser.add_argument("--texts_file", metavar="FILE", help="text file with one text a line")
    parser.add_argument("--output", metavar="X.npz", help="file to write; needed without --json")
    model_flag.add_model_flag(parser, model_flag.ELSE.format(model_flag.EMBEDDING_MODEL))
    parser.add_argument("--batch_size", type=int, default=32, help="inputs at a time (32)")
    parser.add_argument("--json", action="store_true", help=results.HELP)
    flags = parser.parse_intermixed_args(arguments)
    if flags.batch_size < 1:
        raise InvalidInputError(f"--batch_size={flags.batch_size}: must be at least 1")
    if flags.output is None and not flags.json:
        raise InvalidInputError("give --output=x.npz, the file to write, or --json")
    if flags.output is not None and not flags.output.lower().endswith(".npz"):
        raise InvalidInputError(
            f"--output={flags.output} does not end in .npz, the format that is written; name such "
            "a file, or leave it out and give --json, which prints"
        )
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
