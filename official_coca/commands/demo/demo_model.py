"""What the page asks of a model, each a generator of steps for the `ModelWorker`.

Shapes: H x W pixels, C labels, E embedding width.
"""

import collections

import keras
import numpy as np

from official_coca.commands.classify import DEFAULT_TEMPLATES, class_probabilities
from official_coca.commands.demo.caption_writer import CaptionWriter
from official_coca.commands.image_stream import ImageReader
from official_coca.evaluation.zero_shot import embed_classes

_KEPT_LABELS = 4096


class DemoModel:
    """A model behind the page.

    Args:
        model: a `CoCa` with a preprocessor, whose tokenizer may be None.

    Attributes:
        text_problem: why the model cannot read texts, or None if it can.
        caption_problem: why the model cannot write captions, or None if it can.
    """

    def __init__(self, model):
        self._model = model
        self._reader = ImageReader(model.preprocessor.image_converter)
        self._labels = collections.OrderedDict()
        self.text_problem = self.caption_problem = None
        if model.preprocessor.tokenizer is None:
            self.text_problem = self.caption_problem = "This model has no tokenizer."
        elif not model.captioning_loss_weight:
            self.caption_problem = "This model was trained without captions."
        self._writer = None if self.caption_problem else CaptionWriter(model)

    def decode(self, encoded):
        """Returns the pixels (H, W, 3) of an encoded image; for any thread.

        Raises:
            InvalidInputError: why it is no image that can be used.
        """
        return self._reader.decode(encoded)

    def read(self, path):
        """`decode` of a file."""
        return self._reader.read(path)

    def warm_up(self):
        """Compiles everything, so that the first visitor does not wait for it."""
        image = np.zeros((*self._model.preprocessor.image_converter.image_size, 3), "float32")
        yield from self.embed_image(image)
        if self.text_problem is None:
            yield from self.embed_text("a photo")
        if self.caption_problem is None:
            yield next(self.write_caption(image), "")

    def embed_text(self, text):
        """Yields (E,)."""
        yield keras.ops.convert_to_numpy(self._model.encode_text([text]))[0]

    def embed_image(self, image):
        """Yields (E,) of pixels (H, W, 3)."""
        yield keras.ops.convert_to_numpy(self._model.encode_image(image[None]))[0]

    def classify(self, image_embedding, labels):
        """Yields None after each label, and at last probabilities (C,).

        Args:
            image_embedding: (E,).
            labels: C distinct names.
        """
        embeddings = []
        for label in labels:
            embeddings.append(self._label_embedding(label))
            yield None
        temperature = float(self._model.temperature)
        yield class_probabilities(image_embedding[None], np.stack(embeddings), temperature)[0]

    def write_caption(self, image):
        """Yields the caption of pixels (H, W, 3) so far, after every token."""
        return self._writer.write(image)

    def _label_embedding(self, label):
        """(E,); kept, as a person who edits labels changes one at a time."""
        if label not in self._labels:
            self._labels[label] = embed_classes(self._model, [label], DEFAULT_TEMPLATES)[0]
            if len(self._labels) > _KEPT_LABELS:
                self._labels.popitem(last=False)
        return self._labels[label]
