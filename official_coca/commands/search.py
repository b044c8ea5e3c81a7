"""Finds the images of an index that are nearest to a text or an image.

    coca search photos/ "a dog on a beach"
    coca search photos/ my_dog.jpg --top=3 --json

prints `path<TAB>similarity`, the nearest first; the similarity is the cosine of the embeddings, 1
for the image itself. With --json every line is an object {"image": path, "score": similarity,
"rank": 1 for the nearest}. The query is an image if there is such a file, else a text. `coca
index DIR` makes an index.
"""

import os
import sys

from official_coca.commands import image_files, model_flag, results
from official_coca.commands.text_arguments import check_text
from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser, run_program


def main(arguments):
    flags = _parse(arguments)
    is_image = flags.text is None and image_files.is_image_argument(flags.query)
    if is_image and not os.path.isfile(flags.query):
        raise InvalidInputError(f"the query {flags.query!r} is not one image; give one file")
    if not is_image:
        check_text(flags.query if flags.text is None else flags.text)
    from official_coca.commands import embedding_index

    index = embedding_index.EmbeddingIndex(flags.index)
    if not index.rows:
        raise InvalidInputError(f"the index {flags.index} has no images; run coca index again")
    model = model_flag.load_model(flags.model or index.model)
    if embedding_index.fingerprint(model) != index.fingerprint:
        raise InvalidInputError(
            f"the index {flags.index} was made by the model {index.model} as it was then, not by "
            f"{flags.model or index.model} as it is now; search with that model, or run coca index "
            "again with this one"
        )
    query = _embedding(model, flags, is_image)
    nearest = index.nearest(query, flags.top)
    with results.Results(len(nearest), flags.json) as printed:
        for rank, (row, score) in enumerate(nearest, start=1):
            path = index.path(row)
            printed.add({"image": path, "score": score, "rank": rank}, [path, f"{score:.4f}"])
    return 0


def _embedding(model, flags, is_image):
    """(E,) float32 of the query."""
    import keras

    from official_coca.commands.image_stream import ImageReader

    if is_image:
        reader = ImageReader(model.preprocessor.image_converter)
        try:
            pixels = reader.read(flags.query)
        except InvalidInputError as error:
            raise InvalidInputError(f"the query {flags.query!r} cannot be used: {error}") from None
        embeddings = model.encode_image(pixels[None])
    else:
        embeddings = model.encode_text([flags.query if flags.text is None else flags.text])
    return keras.ops.convert_to_numpy(embeddings)[0]


def _parse(arguments):
    parser = ArgumentParser(prog="coca search", description=__doc__)
    parser.add_argument("index", metavar="INDEX", help="an index, or the directory it was made of")
    parser.add_argument("query", nargs="?", metavar="TEXT|IMAGE", help="what to look for")
    parser.add_argument("--text", help="instead of the query: a text that looks like a path")
    parser.add_argument("--top", type=int, default=10, help="images shown (10)")
    model_flag.add_model_flag(parser, "the model that made the index")
    parser.add_argument("--json", action="store_true", help="print JSON Lines; see above")
    flags = parser.parse_intermixed_args(arguments)
    if (flags.query is None) == (flags.text is None):
        raise InvalidInputError("give one query: a text, an image, or --text")
    if flags.top < 1:
        raise InvalidInputError(f"--top={flags.top}: must be at least 1")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
