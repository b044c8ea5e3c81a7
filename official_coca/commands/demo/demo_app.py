"""The web application of the page: its files, pictures and answers.

    GET  /                        the page; the files it consists of lie beside it
    GET  /start                   what the page must know: the model, what it can do, limits
    GET  /map                     places of the images on a plane
    GET  /pictures/TOKEN/SIZE/ROW a JPEG copy of an indexed image
    GET  /search?text=TEXT        the images nearest to a text
    POST /look                    an image: similar ones, then its caption as it is written
    GET  /look/ROW                the same for an indexed image
    POST /labels                  how likely each of some labels is for an image

Rows mean other images after another start, so requests for /map, /search, /look and /labels carry
the token of /start in the header Coca-Start; a page of an earlier start is told to reload.

Answers are JSON, those of /look JSON Lines; errors are {"error": one line}.

Shapes: E embedding width.
"""

import asyncio
import collections
import concurrent.futures
import json
import re
import secrets
import threading

import numpy as np
from aiohttp import web

from official_coca.commands.demo import page_security
from official_coca.commands.demo.demo_model import DemoModel
from official_coca.commands.demo.embedding_map import map_embeddings
from official_coca.commands.demo.model_worker import ModelWorker
from official_coca.commands.demo.neighbour_search import NeighbourSearch
from official_coca.commands.demo.page_answers import answer_errors, json_response
from official_coca.commands.demo.page_files import send_page_file
from official_coca.commands.demo.page_requests import (
    NUM_NEIGHBOURS,
    read_body,
    read_labels,
    read_text,
)
from official_coca.commands.demo.pictures import SIDES, Pictures
from official_coca.errors import InvalidInputError
from official_coca.serving.request_error import RequestError

MAX_IMAGE_BYTES = 20 * 2**20
_MAX_JOBS = 32
_THREADS = 2
_KEPT_IMAGES = 1024  # embeddings of dropped images, for labels that are edited
_MAP_UNITS = 65_535  # places are sent as whole numbers, which are short
_ROW = "[0-9]{1,9}"
_START_HEADER = "Coca-Start"


class DemoApp:
    """Answers the page.

    Args:
        model: a `CoCa` with a preprocessor.
        model_name: for the page.
        index: the `EmbeddingIndex` of the images.
        host: the address that the program listens on.
    """

    def __init__(self, model, model_name, index, host):
        self._model = DemoModel(model)
        self._model_name = model_name
        self._index = index
        self._host = host
        self._search = NeighbourSearch(index)
        self._pictures = Pictures(index)
        # Browsers keep pictures and open pages; those of another start are told apart by it.
        self._token = secrets.token_hex(4)
        self._dropped = collections.OrderedDict()
        self._map = concurrent.futures.Future()
        self._worker = ModelWorker(_MAX_JOBS)
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, "demo")

    def application(self):
        """Returns the `aiohttp.web.Application`."""
        application = web.Application(
            middlewares=[answer_errors, page_security.guard(self._host)],
            client_max_size=MAX_IMAGE_BYTES,
        )
        row = f"{{row:{_ROW}}}"
        application.add_routes(
            [
                web.get("/", send_page_file),
                web.get("/{name:[a-z_]+[.](?:css|js)}", send_page_file),
                web.get("/start", self._start),
                web.get("/map", self._of_this_start(self._send_map)),
                web.get("/pictures/{token}/{size}/" + row, self._picture),
                web.get("/search", self._of_this_start(self._find)),
                web.post("/look", self._of_this_start(self._look_at_dropped)),
                web.get("/look/" + row, self._of_this_start(self._look_at_indexed)),
                web.post("/labels", self._of_this_start(self._label)),
            ]
        )
        application.on_response_prepare.append(page_security.add_headers)
        application.on_startup.append(self._begin)
        return application

    def close(self, seconds):
        """Ends the threads; gives up waiting for them after some seconds."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._worker.close(seconds)

    async def _begin(self, _):
        """Starts what takes a while and no visitor must wait for."""
        threading.Thread(target=self._make_map, name="map", daemon=True).start()
        self._warming = asyncio.ensure_future(self._worker.result(self._model.warm_up()))

    def _of_this_start(self, handler):
        """The handler, for pages that were opened since the program was started."""

        async def check(request):
            if request.headers.get(_START_HEADER) != self._token:
                raise RequestError(
                    410, "the program was started anew since this page was opened: reload the page"
                )
            return await handler(request)

        return check

    def _make_map(self):
        try:
            self._map.set_result(map_embeddings(self._index.embeddings))
        except Exception as error:  # noqa: BLE001  Raised again where the map is asked for.
            self._map.set_exception(error)

    async def _start(self, request):
        return json_response({
            "token": self._token,
            "model": self._model_name,
            "images": len(self._index.rows),
            "search": self._search.method,
            "pictures": f"/pictures/{self._token}/",
            "max_image_bytes": MAX_IMAGE_BYTES,
            "text_problem": self._model.text_problem,
            "caption_problem": self._model.caption_problem,
        })  # fmt: skip

    async def _send_map(self, request):
        shown = await asyncio.shield(asyncio.wrap_future(self._map))
        places = np.rint(shown.places * _MAP_UNITS).astype(int)
        return json_response({
            "method": shown.method,
            "rows": shown.rows.tolist(),
            "x": places[:, 0].tolist(),
            "y": places[:, 1].tolist(),
            "units": _MAP_UNITS,
            "names": [self._index.rows[row].path for row in shown.rows],
        })  # fmt: skip

    async def _picture(self, request):
        row, size = self._row(request), request.match_info["size"]
        if request.match_info["token"] != self._token or size not in SIDES:
            raise web.HTTPNotFound()
        jpeg = await self._in_thread(self._pictures.jpeg, row, size)
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)

    async def _find(self, request):
        self._require(self._model.text_problem)
        text = read_text(request.query.get("text", ""))
        embedding = await self._worker.result(self._model.embed_text(text))
        return json_response({"found": await self._nearest(embedding)})

    async def _look_at_dropped(self, request):
        encoded = await read_body(request)
        pixels = await self._in_thread(self._model.decode, encoded)
        embedding = await self._worker.result(self._model.embed_image(pixels))
        name = f"dropped-{secrets.token_hex(8)}"
        self._dropped[name] = embedding
        if len(self._dropped) > _KEPT_IMAGES:
            self._dropped.popitem(last=False)
        found = await self._nearest(embedding)

        async def read():
            return pixels

        return await self._send_look(request, {"image": name, "similar": found}, read)

    async def _look_at_indexed(self, request):
        row = self._row(request)
        path = self._pictures.path(row)
        found = await self._nearest(np.array(self._index.embeddings[row]), without=row)
        first = {"image": f"row-{row}", "similar": found}

        async def read():
            try:
                return await self._in_thread(self._model.read, path)
            except InvalidInputError as error:
                name = self._index.rows[row].path
                raise InvalidInputError(f"{name} cannot be read: {error}") from None

        return await self._send_look(request, first, read)

    async def _send_look(self, request, first, read):
        """Sends similar images at once, then the caption; `read` gives the pixels for it.

        The last line has "done" or "error": without one the answer was cut off.
        """
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "application/jsonl"
        await response.prepare(request)
        await _send_line(response, first)
        try:
            await self._send_caption(response, read)
        except (InvalidInputError, RequestError) as error:  # too late for a status
            await _send_line(response, {"error": str(error)})
        await response.write_eof()
        return response

    async def _send_caption(self, response, read):
        """Sends the caption so far after each token."""
        if self._model.caption_problem is not None:
            await _send_line(response, {"done": True})
            return
        caption = ""
        async with self._worker.stream(self._model.write_caption(await read())) as captions:
            async for caption in captions:
                await _send_line(response, {"caption": caption})
        await _send_line(response, {"caption": caption, "done": True})

    async def _label(self, request):
        self._require(self._model.text_problem)
        image, labels = read_labels(await read_body(request))
        embedding = self._embedding(image)
        probabilities = await self._worker.result(self._model.classify(embedding, labels))
        return json_response({"probabilities": [float(share) for share in probabilities]})

    def _embedding(self, image):
        """(E,) of an image by the name that /look gave it."""
        row = re.fullmatch(f"row-({_ROW})", image)
        if row and int(row[1]) < len(self._index.rows):
            return np.array(self._index.embeddings[int(row[1])])
        if image in self._dropped:
            self._dropped.move_to_end(image)
            return self._dropped[image]
        raise RequestError(410, "this image is no longer known here; drop it again")

    async def _nearest(self, embedding, without=None):
        count = NUM_NEIGHBOURS + (without is not None)
        nearest = await self._in_thread(self._search.nearest, embedding, count)
        return [
            {"row": row, "name": self._index.rows[row].path, "score": round(score, 4)}
            for row, score in nearest
            if row != without
        ][:NUM_NEIGHBOURS]

    def _row(self, request):
        row = int(request.match_info["row"])
        if row >= len(self._index.rows):
            raise RequestError(404, f"there is no image {row}")
        return row

    def _require(self, problem):
        if problem:
            raise RequestError(404, problem)

    async def _in_thread(self, function, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


async def _send_line(response, fields):
    await response.write(json.dumps(fields).encode() + b"\n")
