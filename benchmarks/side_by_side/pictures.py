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


def picture_paths(directory, count, captions_dir=None):
    """The paths of `count` files, whether they are written yet or not."""
    kind = "photographs" if captions_dir else "gradients"
    folder = pathlib.Path(directory).resolve() / f"{kind}_{count}"
    return tuple(folder / f"{number:05d}.jpg" for number in range(count))


def write_pictures(paths, captions_dir=None):
    """Writes those of the JPEG files that are missing."""
    tiles = _photographs(captions_dir) if captions_dir else _smooth_tiles()
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if path.exists():
            continue
        picture = Image.new("RGB", SIZE)
        for left in range(0, SIZE[0], _TILE):
            for top in range(0, SIZE[1], _TILE):
                tile = next(tiles).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
                picture.paste(tile, (left, top))
        picture.save(path, quality=_QUALITY)


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
