"""Pictures of a data set as PNG bytes, plain or under a map of attention.

Shapes: H, W size of a picture, gh, gw the rows and columns of its patches.
"""

import io

import matplotlib
import numpy as np
from PIL import Image

from official_coca.errors import InvalidInputError

# Enlarged so far, a map of few patches looks smooth.
_OVERLAY_SIZE = 216


def to_uint8(images):
    """Pictures for the eye: uint8 stays, floats from -1 to 1 (what models get) are spread out."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise InvalidInputError(
            f"pictures of a report are {images.dtype}; give uint8, or floats from -1 to 1"
        )
    return np.clip(np.round(images * 127.5 + 127.5), 0, 255).astype(np.uint8)


def picture_png(image):
    """(H, W, 3) picture → PNG bytes."""
    return _encode(Image.fromarray(to_uint8(image)))


def attention_png(image, weights, grid):
    """(H, W, 3) picture under the (gh * gw,) attention weights of its patches → PNG bytes.

    The map is scaled from its least to its greatest weight, so even a flat one shows contrast. A
    weight before those of the patches, that of a class token, is left out.
    """
    weights = np.asarray(weights, "float32")
    patches = grid[0] * grid[1]
    if weights.shape not in ((patches,), (patches + 1,)):
        raise InvalidInputError(
            f"attention over {weights.shape} tokens does not fit a grid of {grid[0]} x {grid[1]} "
            "patches; give the patch grid of the model"
        )
    heat = weights[-patches:].reshape(grid)
    heat = (heat - heat.min()) / max(float(np.ptp(heat)), 1e-12)
    size = (_OVERLAY_SIZE, _OVERLAY_SIZE)
    heat = Image.fromarray((heat * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    heat = np.asarray(heat, "float32") / 255
    picture = Image.fromarray(to_uint8(image)).resize(size, Image.Resampling.NEAREST)
    # The picture in grey and darkened, so that colour means attention alone.
    grey = np.asarray(picture.convert("L"), "float32")[..., None] * np.ones(3)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    strength = 0.25 + 0.55 * heat[..., None]
    return _encode(Image.fromarray(((1 - strength) * grey + strength * colours).astype(np.uint8)))


def _encode(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
