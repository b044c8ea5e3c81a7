"""JPEG files for the input pipelines, as large as photographs on the web are.

Where a folder of photographs is given, each file is a patchwork of some; those of Flickr8k are kept
112 pixels wide, too small to tell how fast a pipeline is.
"""

import io
import json
import pathlib
import zipfile

import numpy as np
from PIL import Image

SIZE = (500, 375)  # width and height of most photographs on Flickr
_QUALITY = 90
_TILE = 125


def write_pictures(directory, count, captions_dir=None):
    """Writes `count` JPEG files and returns their paths, sorted."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tiles = _photographs(captions_dir) if captions_dir else _smooth_tiles()
    paths = []
    for number in range(count):
        picture = Image.new("RGB", SIZE)
        for left in range(0, SIZE[0], _TILE):
            for top in range(0, SIZE[1], _TILE):
                picture.paste(next(tiles).resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left, top))
        paths.append(directory / f"{number:05d}.jpg")
        picture.save(paths[-1], quality=_QUALITY)
    return paths


def _photographs(captions_dir):
    folder = pathlib.Path(captions_dir)
    with zipfile.ZipFile(folder / "train.zip") as archive:
        while True:
            with open(folder / "train.jsonl", encoding="utf-8") as rows:
                for row in rows:
                    content = archive.read(json.loads(row)["image"])
                    yield Image.open(io.BytesIO(content)).convert("RGB")


def _smooth_tiles():
    random = np.random.RandomState(0)
    while True:
        levels = random.randint(0, 256, size=(12, 12, 3)).astype("uint8")
        yield Image.fromarray(levels)
