"""Captions that can be read while they are written.

Shapes: B = 1 image, H x W pixels, T tokens of a caption.
"""

import numpy as np
from keras import ops

from official_coca.generation.decoding_rules import DecodingRules
from official_coca.generation.generate import get_sampler
from official_coca.models.captioning_model import compiled


class CaptionWriter:
    """Writes greedily, token by token; what it has at the end is what `model.generate` writes.

    Args:
        model: a `CaptioningModel` with a preprocessor.
    """

    def __init__(self, model):
        self._model = model
        self._rules = DecodingRules(
            max_length=model.max_length + 1,
            min_length=0,
            eos_token_id=model.eos_token_id,
            pad_token_id=model.pad_token_id,
            bos_token_id=model.bos_token_id,
            vocabulary_size=model.preprocessor.tokenizer.vocabulary_size,
            open_clip_rules=model.open_clip_decoding,
        )
        self._sampler = get_sampler("greedy")
        self._init_cache = compiled(lambda x: model.init_cache(x, self._rules.max_length))
        # Compiled once: the position is a tensor, and the cache keeps its shapes.
        self._next_token = compiled(self._step)

    def write(self, image):
        """Yields the caption so far, after every token.

        Args:
            image: (H, W, 3) float, preprocessed.
        """
        rules = self._rules
        cache = self._init_cache(ops.convert_to_tensor(image[None]))
        row = np.full((1, rules.max_length), rules.pad_token_id, "int32")
        row[0, 0] = rules.bos_token_id
        # open_clip closes a row that is still open with EOS.
        last = rules.max_length - (1 if rules.open_clip_rules else 0)
        for position in range(1, last):
            token, cache = self._next_token(
                ops.convert_to_tensor(row[:, position - 1]),
                cache,
                ops.convert_to_tensor(position - 1, "int32"),
            )
            row[0, position] = int(token[0])
            if bool(ops.convert_to_numpy(rules.is_end(token))[0]):
                return
            yield self._model.preprocessor.generate_postprocess(row)[0]

    def _step(self, token_ids, cache, index):
        """The token (1,) after the one at `index`, and the new cache."""
        logits, cache = self._model.decode_step(token_ids[:, None], cache, index)
        logits = self._rules.allow(ops.cast(logits, "float32"), index + 1)
        return self._sampler.select(logits, None), cache
