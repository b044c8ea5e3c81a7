"""The files that the page consists of."""

import importlib.resources

from aiohttp import web

PAGE_FILES = {
    "page.html": "text/html",
    "page.css": "text/css",
    **dict.fromkeys(
        (
            "page.js",
            "server.js",
            "kept.js",
            "wording.js",
            "gallery.js",
            "look.js",
            "labels.js",
            "map.js",
            "map_pointers.js",
            "map_view.js",
        ),
        "text/javascript",
    ),
}


async def send_page_file(request):
    """Handler: the file that the path names, the page itself where it names none."""
    name = request.match_info.get("name", "page.html")
    if name not in PAGE_FILES:
        raise web.HTTPNotFound()
    folder = importlib.resources.files("official_coca.commands.demo") / "page"
    return web.Response(
        body=(folder / name).read_bytes(),
        content_type=PAGE_FILES[name],
        charset="utf-8",
        headers={"Cache-Control": "no-cache"},
    )
