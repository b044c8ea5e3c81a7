"""Embeds all images of a directory, so that coca search finds them.

    coca index photos/
    coca search photos/ "a dog on a beach"

The index is a directory, photos/coca_index unless --output names another. Called again, only new
and changed images (by size and time of change) are embedded, and those that are gone are dropped.
It may be stopped at any time: what is done by then is kept, but for the last minute if it is
killed. An image that cannot be used is named on stderr, and with --json also as {"image": path,
"error": reason}; the others go on, and the exit code is 1. With --json the last line of stdout is
{"index": path, "images": number, "added": number, "dropped": number, "skipped": number};
"dropped" counts images that are gone or have changed.
"""

import json
import os
import pathlib
import sys
import time

from official_coca.commands import image_files, model_flag, results
from official_coca.errors import InvalidInputError
from official_coca.printing import print_line
from official_coca.program import ArgumentParser, run_program

_COMMIT_SECONDS = 60


def main(arguments):
    flags = _parse(arguments)
    from official_coca.commands.index_lock import writing_lock

    directory, place = check_places(flags.directory, flags.output, "DIR")
    with writing_lock(place):
        old = existing_index(place)
        handle = indexing_model(flags.model, old)
        model = model_flag.load_model(handle)
        files = image_files.find_images([directory])
        return refresh(model, handle, old, files, directory, place, flags.batch_size, flags.json)


def check_places(directory, output, flag):
    """Returns the normal path of a directory of images, and where its index lies.

    Args:
        directory: of images.
        output: of the index; None for within the images.
        flag: that names the directory of images, for messages.

    Raises:
        InvalidInputError: the directory is none, or has no images.
    """
    from official_coca.commands.embedding_index import DIRECTORY_NAME

    if not directory:  # its normal path would be the current directory
        raise InvalidInputError(f"{flag}={directory!r} names no directory; give one with images")
    normal = os.path.normpath(directory)
    if not os.path.isdir(normal):
        raise InvalidInputError(f"{directory} is not a directory; give one with images")
    files = image_files.find_images([normal])
    if not image_files.has_candidates(files):
        _, _, problem = next(image_files.unusable(files))
        raise InvalidInputError(f"{flag}={directory} cannot be indexed: {problem}")
    return normal, pathlib.Path(output or os.path.join(normal, DIRECTORY_NAME))


def existing_index(place):
    """The `EmbeddingIndex` at a place, or None."""
    from official_coca.commands import embedding_index

    if embedding_index.INDEX_FILE in os.listdir(place):
        return embedding_index.EmbeddingIndex(place)
    return None


def indexing_model(flag, old):
    """The handle of the model that embeds: of the flag, else of the index that is there."""
    return model_flag.chosen_model(flag or (old and old.model), model_flag.EMBEDDING_MODEL)


def refresh(model, handle, old, files, directory, place, batch_size, as_json=False):
    """Brings an index up to date with its images and prints a summary; the caller holds its lock.

    Args:
        model: of the `handle`.
        handle: what the index names as its model.
        old: the `EmbeddingIndex` that is there, or None.
        files: the `ImageFile`s to index.
        directory: that they lie in.
        place: of the index.
        batch_size: images embedded at a time.
        as_json: whether to print JSON.

    Returns:
        0, or 1 if images were skipped.
    """
    from official_coca.commands import embedding_index
    from official_coca.commands.index_writer import IndexWriter

    fingerprint = embedding_index.fingerprint(model)
    if old and old.fingerprint != fingerprint:
        print("the index was made by another model: every image is embedded anew", file=sys.stderr)
    handle = os.path.abspath(handle) if os.path.isdir(handle) else handle

    current = {file: _row(file.path, directory) for file in files}
    known = {}
    if old and old.fingerprint == fingerprint:
        known = {row: number for number, row in enumerate(old.rows)}
    kept = sorted(
        known[row] for file, row in current.items() if not file.problem and row in known
    )
    new = [file for file, row in current.items() if file.problem or row not in known]

    writer = IndexWriter(place, handle, fingerprint, directory, old, kept)
    with results.Results(len(new), as_json, inputs="images to embed") as printed:
        added = _embed(model, new, current, writer, printed, batch_size)
    summary = {
        "index": str(place),
        "images": len(kept) + added,
        "added": added,
        "dropped": len(old.rows) - len(kept) if old else 0,
        "skipped": len(new) - added,
    }
    print_line(json.dumps(summary) if as_json else _sentence(summary))
    return printed.exit_code()


def _embed(model, files, rows, writer, printed, batch_size):
    """Embeds new files into the index; returns how many."""
    import keras

    from official_coca.commands.image_stream import run_on_images

    added, committed = 0, time.monotonic()
    outcomes = run_on_images(
        model,
        files,
        lambda images: keras.ops.convert_to_numpy(model.encode_image(images)),
        batch_size,
    )
    try:
        for file, embedding, problem in outcomes:
            if problem:
                printed.skip(file.path, problem)
                continue
            writer.add([rows[file]], embedding[None])
            added += 1
            printed.count()
            if time.monotonic() - committed > _COMMIT_SECONDS:
                writer.commit()
                committed = time.monotonic()
    finally:
        writer.close()
    return added


def _row(path, directory):
    """The `Row` of a file as it is now; one that is not there now will not be read either."""
    from official_coca.commands.embedding_index import Row

    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Row(os.path.relpath(path, directory), -1, -1)
    return Row(os.path.relpath(path, directory), status.st_size, status.st_mtime_ns)


def _sentence(summary):
    plural = "" if summary["images"] == 1 else "s"
    return (
        f"{results.clean(summary['index'])}: {summary['images']} image{plural}, "
        f"{summary['added']} of them added now, {summary['dropped']} dropped"
    )


def _parse(arguments):
    parser = ArgumentParser(prog="coca index", description=__doc__)
    parser.add_argument("directory", metavar="DIR", help="directory of images; subdirectories too")
    parser.add_argument("--output", metavar="INDEX", help="directory of the index")
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time (32)")
    default = model_flag.ELSE.format(model_flag.EMBEDDING_MODEL)
    model_flag.add_model_flag(parser, f"that of an existing index, else {default}")
    parser.add_argument("--json", action="store_true", help="print JSON Lines; see above")
    flags = parser.parse_intermixed_args(arguments)
    if flags.batch_size < 1:
        raise InvalidInputError(f"--batch_size={flags.batch_size}: must be at least 1")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
