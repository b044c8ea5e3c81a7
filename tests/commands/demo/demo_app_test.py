"""What the program answers to the page, and what it keeps from others."""

import asyncio
import contextlib
import io
import json
import os

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from official_coca.commands.demo import demo_app
from official_coca.commands.demo.demo_app import DemoApp
from official_coca.commands.embedding_index import EmbeddingIndex
from official_coca.models.coca import CoCa


@pytest.fixture
def index(coca, photos):
    """Of five images and a symbolic link to one that lies elsewhere."""
    outside = photos.parent / "outside.png"
    Image.new("RGB", (20, 20), "red").save(outside)
    (photos / "link.png").symlink_to(outside)
    (photos / "turned.jpg").write_bytes(_turned_jpeg())
    assert coca("index", photos) == 0
    return EmbeddingIndex(photos)


def _turned_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees
    exif[0x010F] = "a camera"
    stream = io.BytesIO()
    Image.new("RGB", (40, 20), "blue").save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def run(use, model, index):
    @contextlib.asynccontextmanager
    async def running():
        app = DemoApp(model, "the model", index, "127.0.0.1")
        async with TestClient(TestServer(app.application())) as client:
            _, start = await ask(client, "/start")
            client.session.headers["Coca-Start"] = start["token"]
            yield client
        app.close(5)

    async def main():
        async with running() as client:
            await use(client)

    asyncio.run(main())


async def ask(client, path, **options):
    method = client.post if "data" in options else client.get
    async with method(path, **options) as response:
        return response.status, await response.json()


async def look(client, path, **options):
    method = client.post if "data" in options else client.get
    async with method(path, **options) as response:
        assert response.status == 200
        return [json.loads(line) for line in (await response.text()).splitlines()]


def row_of(index, name):
    return [row.path for row in index.rows].index(name)


def test_text_finds_what_search_finds(model, index):
    async def use(client):
        status, answer = await ask(client, "/search", params={"text": " a red cat "})
        expected = index.nearest(np.asarray(model.encode_text(["a red cat"]))[0], 7)
        assert status == 200 and [image["row"] for image in answer["found"]] == [
            row for row, _ in expected
        ]
        assert answer["found"][0]["name"] == index.rows[expected[0][0]].path
        for text in ("", "  ", "x" * 1001):
            status, answer = await ask(client, "/search", params={"text": text})
            assert status == 422 and "\n" not in answer["error"]

    run(use, model, index)


def test_dropped_image_gets_similar_ones_caption_and_labels(model, index, photos):
    async def use(client):
        encoded = (photos / "c.png").read_bytes()
        first, *captions, last = await look(client, "/look", data=encoded)
        assert first["similar"][0]["name"] == "c.png" and first["similar"][0]["score"] > 0.999
        assert last == {"caption": model.generate([encoded])[0], "done": True}
        assert len(captions) > 1 and captions[-1]["caption"] == last["caption"]
        request = {"image": first["image"], "labels": ["a cat", "a dog", "three"]}
        status, answer = await ask(client, "/labels", data=json.dumps(request))
        assert status == 200 and sum(answer["probabilities"]) == pytest.approx(1)
        request["labels"].reverse()
        _, reversed_answer = await ask(client, "/labels", data=json.dumps(request))
        assert reversed_answer["probabilities"][::-1] == pytest.approx(answer["probabilities"])

    run(use, model, index)


def test_indexed_image_is_not_among_those_similar_to_it(model, index, photos):
    async def use(client):
        row = row_of(index, "c.png")
        first, *_, last = await look(client, f"/look/{row}")
        assert row not in [image["row"] for image in first["similar"]]
        assert len(first["similar"]) == 6
        assert last["caption"] == model.generate([(photos / "c.png").read_bytes()])[0]
        assert (await ask(client, "/look/7"))[0] == 404

    run(use, model, index)


def test_indexed_image_whose_file_is_gone_still_has_similar_ones_and_labels(model, index, photos):
    async def use(client):
        (photos / "c.png").unlink()
        row = row_of(index, "c.png")
        first, last = await look(client, f"/look/{row}")
        assert len(first["similar"]) == 6
        assert last == {"error": "c.png cannot be read: no such file or directory"}
        request = json.dumps({"image": first["image"], "labels": ["a cat", "a dog"]})
        assert (await ask(client, "/labels", data=request))[0] == 200

    run(use, model, index)


def test_what_is_no_image_is_a_friendly_message(model, index, monkeypatch):
    monkeypatch.setattr(demo_app, "MAX_IMAGE_BYTES", 2**20)

    async def use(client):
        for body, status, words in (
            (b"no image", 422, "cannot be decoded"),
            (b"", 422, "empty"),
            (b" " * (2**20 + 1), 413, "larger than 1 MB"),
        ):
            found, answer = await ask(client, "/look", data=body)
            assert found == status and words in answer["error"]

    run(use, model, index)


@pytest.mark.parametrize(
    "body, status",
    [
        (b"\xff", 422),
        (b"[]", 422),
        (b"[" * 100_000, 422),
        (b'{"image": "row-0", "labels": "cat"}', 422),
        (b'{"image": "row-0", "labels": []}', 422),
        (b'{"image": "row-0", "labels": ["cat", "cat"]}', 422),
        (b'{"image": "row-0", "labels": [""]}', 422),
        (b'{"image": "row-0", "labels": ["\\ud800"]}', 422),
        (b'{"image": "row-99", "labels": ["cat"]}', 410),
        (b'{"image": "row-%s", "labels": ["cat"]}' % (b"9" * 5000), 410),
        (b'{"image": "dropped-0", "labels": ["cat"]}', 410),
        (json.dumps({"image": "row-0", "labels": [str(n) for n in range(201)]}).encode(), 422),
    ],
)
def test_bad_labels_are_refused(model, index, body, status):
    async def use(client):
        found, answer = await ask(client, "/labels", data=body)
        assert found == status and answer["error"] and "\n" not in answer["error"]

    run(use, model, index)


def test_page_of_another_start_is_told_to_reload(model, index):
    async def use(client):
        del client.session.headers["Coca-Start"]
        labels = json.dumps({"image": "row-0", "labels": ["cat"]})
        for path, options in (
            ("/map", {}),
            ("/search?text=cat", {}),
            ("/look", {"data": b"an image"}),
            ("/look/0", {}),
            ("/labels", {"data": labels}),
        ):
            for headers in ({}, {"Coca-Start": "another"}):
                status, answer = await ask(client, path, headers=headers, **options)
                assert status == 410 and "reload the page" in answer["error"]

    run(use, model, index)


def test_pictures_are_copies_upright_and_without_what_else_a_file_tells(model, index):
    async def use(client):
        _, start = await ask(client, "/start")
        row = row_of(index, "turned.jpg")
        async with client.get(f"{start['pictures']}small/{row}") as response:
            assert response.status == 200 and response.content_type == "image/jpeg"
            picture = Image.open(io.BytesIO(await response.read()))
        assert picture.size == (20, 40) and not picture.getexif()

    run(use, model, index)


def test_only_images_within_the_directory_are_served(model, index, photos):
    async def use(client):
        _, start = await ask(client, "/start")
        pictures, link = start["pictures"], row_of(index, "link.png")
        status, answer = await ask(client, f"{pictures}small/{link}")
        assert status == 422 and "outside of the directory" in answer["error"]
        assert (await ask(client, f"/look/{link}"))[0] == 422
        for path in (f"{pictures}small/99", f"{pictures}huge/0", "/pictures/0/small/0"):
            assert (await ask(client, path))[0] == 404
        for path in ("/..%2fcommand.py", "/%2e%2e/command.py", "/page/page.js", "/a.js",
                     f"{pictures}small/..%2fnotes.txt"):  # fmt: skip
            assert (await ask(client, path))[0] == 404
        os.unlink(photos / "b.PNG")
        assert (await ask(client, f"{pictures}small/{row_of(index, 'b.PNG')}"))[0] == 422

    run(use, model, index)


def test_other_pages_are_kept_out(model, index):
    async def use(client):
        port = client.server.port
        for host, status in (
            ("localhost", 200),
            (f"localhost:{port}", 200),
            (f"[::1]:{port}", 200),
            ("evil.example", 403),
            (f"evil.example:{port}", 403),
            ("127.0.0.1.evil.example", 403),
        ):
            assert (await ask(client, "/start", headers={"Host": host}))[0] == status
        for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403)):
            headers = {"Sec-Fetch-Site": site}
            assert (await ask(client, "/start", headers=headers))[0] == status
        async with client.get("/") as response:
            policy = response.headers["Content-Security-Policy"]
            assert response.status == 200 and "default-src 'none'" in policy
            assert "unsafe" not in policy and response.headers["X-Content-Type-Options"]

    run(use, model, index)


def test_map_has_a_place_and_a_name_for_every_image(model, index):
    async def use(client):
        status, answer = await ask(client, "/map")
        assert status == 200 and answer["rows"] == list(range(7))
        assert answer["names"] == [row.path for row in index.rows]
        assert all(0 <= value <= answer["units"] for value in answer["x"] + answer["y"])

    run(use, model, index)


def test_two_visitors_get_their_captions_at_the_same_time(model, index):
    async def use(client):
        one, other = await asyncio.gather(look(client, "/look/0"), look(client, "/look/1"))
        assert one[0]["image"] == "row-0" and other[0]["image"] == "row-1"
        assert one[-1]["done"] and other[-1]["done"]

    run(use, model, index)


def test_model_that_wrote_no_captions_in_training_writes_none_here(preset, index):
    silent = CoCa.from_preset(preset, captioning_loss_weight=0.0)

    async def use(client):
        _, start = await ask(client, "/start")
        assert "without captions" in start["caption_problem"] and start["text_problem"] is None
        assert (await look(client, "/look/0"))[1:] == [{"done": True}]

    run(use, silent, index)


def test_model_without_tokenizer_still_finds_similar_images(preset, index, monkeypatch):
    from official_coca.commands.demo import command
    from official_coca.commands import model_flag

    bare = CoCa.from_preset(preset)
    bare.preprocessor = None
    monkeypatch.setattr(model_flag, "load_weights", lambda handle: bare)
    loaded = command._load("bare")

    async def use(client):
        _, start = await ask(client, "/start")
        assert "no tokenizer" in start["text_problem"] and start["caption_problem"]
        assert len((await look(client, "/look/0"))[0]["similar"]) == 6
        assert (await ask(client, "/search", params={"text": "a cat"}))[0] == 404
        request = json.dumps({"image": "row-0", "labels": ["cat"]})
        assert (await ask(client, "/labels", data=request))[0] == 404

    run(use, loaded, index)
