"""Runs a model over thousands of image files: the next batch is read while it works on this one.

Shapes: B images of a batch, H x W pixels of the model.
"""

import collections
import concurrent.futures
import io
import os
import stat

import numpy as np
import tensorflow as tf

from official_coca.commands.large_pictures import one_at_a_time
from official_coca.errors import InvalidInputError
from official_coca.preprocessing.image import IMAGE_FORMATS, decode_image

_MOST_THREADS = 8
_PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


class ImageReader:
    """Reads, decodes and resizes image files for a model, in threads.

    Args:
        image_converter: an `ImageConverter`.
    """

    def __init__(self, image_converter):
        def convert(encoded):
            with tf.device("CPU"):
                return image_converter(decode_image(encoded))

        self._convert = tf.function(
            convert, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
        )

    def read(self, path):
        """Returns (H, W, 3) float32 pixels; raises `InvalidInputError` with the reason alone."""
        return self.decode(_content(path))

    def decode(self, encoded):
        """`read` of the content of a file."""
        if not encoded:
            raise InvalidInputError("the file is empty")
        with one_at_a_time(_pixel_count(encoded)):
            try:
                return self._convert(encoded).numpy()
            except tf.errors.OpError:
                raise InvalidInputError(
                    "it cannot be decoded: cut off, animated WebP, BMP of less than 8 bits a "
                    f"pixel, or none of {IMAGE_FORMATS}"
                ) from None

    def read_all(self, files, ahead):
        """Yields (file, pixels or None, problem or None) in the order of the files.

        Args:
            files: `ImageFile`s.
            ahead: how many are read before they are asked for.
        """
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="read_image")
        waiting = collections.deque()
        try:
            for file in files:
                waiting.append((file, None if file.problem else pool.submit(self.read, file.path)))
                if len(waiting) > ahead:
                    yield _outcome(*waiting.popleft())
            while waiting:
                yield _outcome(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_on_images(model, files, predict, batch_size):
    """Yields (file, result or None, problem or None) of every file, in order.

    Args:
        model: has a `preprocessor`.
        files: `ImageFile`s.
        predict: function of images (B, H, W, 3) float32 to B results.
        batch_size: the largest B. A last, smaller batch is filled up with its last image, since
            another B would be compiled anew.

    Raises:
        InvalidInputError: what `predict` raises, or a batch that does not fit into memory.
    """
    reader = ImageReader(model.preprocessor.image_converter)
    held, images, compiled_size = [], [], 0
    for file, pixels, problem in reader.read_all(files, ahead=2 * batch_size):
        held.append((file, problem))
        if problem is None:
            images.append(pixels)
        if not images or len(images) == batch_size:
            yield from _results(predict, held, images, compiled_size)
            compiled_size = len(images) or compiled_size
            held, images = [], []
    yield from _results(predict, held, images, compiled_size)


def _results(predict, held, images, compiled_size):
    missing = max(compiled_size - len(images), 0)
    results = iter(_predict(predict, images + images[-1:] * missing) if images else ())
    for file, problem in held:
        yield file, next(results) if problem is None else None, problem


def _predict(predict, images):
    try:
        return predict(np.stack(images))
    except tf.errors.ResourceExhaustedError:
        raise InvalidInputError(
            f"--batch_size={len(images)} images do not fit into memory; give a smaller number"
        ) from None


def _outcome(file, future):
    if future is None:
        return file, None, file.problem
    try:
        return file, future.result(), None
    except InvalidInputError as error:
        return file, None, str(error)


def _content(path):
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError("its name is not valid UTF-8; rename it") from None
    content = None
    try:
        if stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            with open(path, "rb") as file:
                content = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(reason[0].lower() + reason[1:]) from None
    if content is None:
        raise InvalidInputError("it is not a regular file")
    return content


def _pixel_count(encoded):
    """The number of pixels by the header; 0 if Pillow cannot tell, and the decoder must."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=_PILLOW_FORMATS) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        raise InvalidInputError(
            f"it has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, too many to decode safely; "
            "make it smaller"
        ) from None
    except Exception:  # noqa: BLE001  Pillow's formats raise whatever they run into.
        return 0
