"""Serves a page to look at a directory of images through a model.

    coca demo --model=my_model --images=photos/

On the page a text finds the nearest images; an image that is dropped finds similar ones, and gets
a caption, which appears as it is written, and the likeliest of labels that you edit; a map shows
the space of the embeddings. Everything comes from this program: the page works offline.

The images are embedded first, into the index that `coca index` makes too; later starts embed only
what is new. A link that leads out of the directory is skipped. A photo whose EXIF turns it is shown
upright; the model sees it as it is stored. The page can be reached from this machine alone unless
--host says otherwise: whoever reaches it can see all images, without a password. Ctrl-C ends the
program.
"""

import asyncio
import logging
import signal
import sys

from official_coca.commands import image_files, index, model_flag
from official_coca.errors import InvalidInputError
from official_coca.printing import print_line
from official_coca.program import ArgumentParser, run_program
from official_coca.serving.listener import LOOPBACK, bind, local_url, port_number, start_listening

_PORT = 8765
_LAST_CALLS = 2.0  # seconds for answers that are on their way
_LONGEST_REQUEST_LINE = 16_384  # a character of a text to search for takes up to twelve in it


def main(arguments):
    flags = _parse(arguments)
    directory, place = index.check_places(flags.images, flags.index, "--images")
    listener = bind(flags.host, flags.port)
    # From here on the program has imported TensorFlow.
    from official_coca.commands.embedding_index import EmbeddingIndex
    from official_coca.commands.index_lock import writing_lock

    with writing_lock(place, "--index"):
        old = index.existing_index(place)
        handle = index.indexing_model(flags.model, old)
        model = _load(handle)
        # What `Pictures` would not show must not be found either.
        files = image_files.keep_within(directory, image_files.find_images([directory]))
        index.refresh(model, handle, old, files, directory, place, flags.batch_size)
    images = EmbeddingIndex(place)
    if not images.rows:
        raise InvalidInputError(f"none of the images in --images={flags.images} can be used")
    asyncio.run(_serve(model, handle, images, listener))
    return 0


def _load(handle):
    """The model; without a tokenizer it still embeds images, by the default conversion."""
    model = model_flag.load_weights(handle)
    if model.preprocessor is None:
        from official_coca.preprocessing.image import ImageConverter
        from official_coca.preprocessing.preprocessor import ImageTextPreprocessor

        print(
            f"--model={handle} has no tokenizer: the page has no texts, and images are only "
            "resized and scaled to -1..1",
            file=sys.stderr,
        )
        model.preprocessor = ImageTextPreprocessor(None, ImageConverter(model.image_size))
    return model


async def _serve(model, handle, images, listener):
    """Answers until a signal comes."""
    from aiohttp import web

    from official_coca.commands.demo.demo_app import DemoApp

    # A defect is logged by `answer_errors`, what clients do is not.
    for name in ("aiohttp.access", "aiohttp.server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    app = DemoApp(model, handle, images, listener.getsockname()[0])
    runner = web.AppRunner(
        app.application(),
        handler_cancellation=True,
        shutdown_timeout=_LAST_CALLS,
        auto_decompress=False,  # the rest of a refused body would be inflated for seconds
        max_line_size=_LONGEST_REQUEST_LINE,
    )
    await runner.setup()
    start_listening(listener)
    await web.SockSite(runner, listener).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print_line(f"open {local_url(listener)} in a browser; Ctrl-C ends this program")
    await stop.wait()
    await runner.cleanup()
    app.close(_LAST_CALLS)
    print("stopped", file=sys.stderr)


def _parse(arguments):
    parser = ArgumentParser(prog="coca demo", description=__doc__)
    parser.add_argument("--images", required=True, metavar="DIR", help="directory of images")
    default = model_flag.ELSE.format(model_flag.EMBEDDING_MODEL)
    model_flag.add_model_flag(parser, f"that of an existing index, else {default}")
    parser.add_argument(
        "--index", metavar="INDEX", help="directory of the index; default: coca_index in --images"
    )
    parser.add_argument(
        "--host", default=LOOPBACK, help=f"address to listen on ({LOOPBACK}: this machine alone)"
    )
    parser.add_argument(
        "--port", type=port_number, default=_PORT, help=f"0 takes a free one ({_PORT})"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="images embedded at a time (32)")
    flags = parser.parse_args(arguments)
    if flags.batch_size < 1:
        raise InvalidInputError(f"--batch_size={flags.batch_size}: must be at least 1")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
