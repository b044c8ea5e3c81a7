"""Serves the SavedModels of a directory over TF Serving's REST protocol.

    python -m official_coca.serving.server --model_dir=runs/saved_model [--model_name=coca] \\
        [--host=127.0.0.1] [--port=8501] [--max_batch_size=16] [--batch_timeout_micros=2000]

The directory has one SavedModel in each directory whose name is a number; the newest is served, and
a newer one replaces it when it is there. Any SavedModel will do. There is no authentication: the
server binds to this machine alone unless --host says otherwise. SIGTERM and SIGINT end it when what
it has taken is answered. --port=0 takes a free port and prints it.
"""

import asyncio
import logging
import os
import signal
import sys

from official_coca.program import ArgumentParser, run_program  # first: it quietens TensorFlow
from official_coca.errors import InvalidInputError
from official_coca.serving.listener import bind, start_listening, url
from official_coca.serving.server_flags import (
    add_server_flags,
    batching_options,
    set_threads,
)

_LARGEST_BODIES = 16  # that are in memory at the same time, or as many bytes of smaller ones
_ARRIVING = 0.1  # seconds for clients that were taken with the signal to be the web server's
_LAST_CALLS = 1.0  # seconds for threads whose work nobody waits for any more
_LONGEST_LINGERING = 2.0  # seconds that the rest of a refused body is read and thrown away


def main(arguments):
    parser = ArgumentParser(prog="python -m official_coca.serving.server", description=__doc__)
    add_server_flags(parser)
    flags = parser.parse_args(arguments)
    options = batching_options(flags)
    _check_directory(flags.model_dir)
    listener = bind(flags.host, flags.port)
    for number in (signal.SIGTERM, signal.SIGINT):  # until there is something to finish
        signal.signal(number, _end_at_once)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    return _run(flags, options, listener)


def _run(flags, options, listener):
    import uvloop

    from official_coca.serving.batching import BatchQueue
    from official_coca.serving.model_versions import ModelVersions
    from official_coca.serving.rest_app import RequestLimits, RestApp
    from official_coca.serving.server_metrics import ServerMetrics

    set_threads(flags)
    metrics = ServerMetrics()
    queue = BatchQueue(options, metrics)
    versions = ModelVersions(flags.model_dir, flags.file_system_poll_wait_seconds)
    metrics.watch(lambda: queue.depth, lambda: versions.current.number if versions.current else -1)
    limits = RequestLimits(
        max_request_bytes=flags.max_request_bytes,
        timeout_seconds=flags.request_timeout_seconds,
        max_held_bytes=_LARGEST_BODIES * flags.max_request_bytes,
    )
    start_listening(listener)  # before there is a thread that would have to be ended
    versions.start()
    app = RestApp(flags.model_name, versions, queue, metrics, limits)
    uvloop.run(_serve(app, listener, flags))
    ended = queue.close(_LAST_CALLS) and versions.stop(_LAST_CALLS)
    logging.info("stopped")
    if not ended:  # a model that is being loaded or run cannot be interrupted in another way
        sys.stdout.flush()
        logging.shutdown()
        os._exit(0)
    return 0


async def _serve(app, listener, flags):
    """Answers until a signal comes, then until what was taken is answered."""
    from aiohttp import web

    from official_coca.serving.rest_app import HANDLER_OPTIONS

    for name in ("aiohttp.access", "aiohttp.server"):  # what clients do is counted, not logged
        logging.getLogger(name).setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        app.application(),
        keepalive_timeout=flags.keep_alive_seconds,
        handler_cancellation=True,
        shutdown_timeout=flags.shutdown_grace_seconds,
        lingering_time=_LONGEST_LINGERING,
        **HANDLER_OPTIONS,
    )
    await runner.setup()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(runner.server, sock=listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print(f"serving {flags.model_name} on {url(listener)}", flush=True)
    await stop.wait()
    app.stop_accepting()
    server.close()
    # aiohttp hangs up on those that have asked for nothing, but waits for later ones until the end.
    await asyncio.sleep(_ARRIVING)
    await runner.cleanup()


def _end_at_once(number, _):
    """A handler of signals; an exception instead is lost where a library's callback runs."""
    if number == signal.SIGTERM:
        os._exit(0)
    os.write(sys.stderr.fileno(), b"stopped\n")  # print may be what the signal interrupted
    os._exit(130)


def _check_directory(directory):
    if not directory.is_dir():
        raise InvalidInputError(f"--model_dir={directory} is not a directory")
    if (directory / "saved_model.pb").exists():
        raise InvalidInputError(
            f"--model_dir={directory} is a SavedModel itself; give the directory above it, and "
            "name this one with a number"
        )


if __name__ == "__main__":
    sys.exit(run_program(main))
