"""Image-text models that write captions.

Shapes: B images, P tokens of a prompt, T tokens of a caption, N captions of an image.
"""

import keras
import numpy as np
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation import generate as generation
from official_coca.models import model_inputs
from official_coca.models.image_text_model import ImageTextModel


class CaptioningModel(ImageTextModel):
    """Adds `generate` to families that have `init_cache` and `decode_step`."""

    def generate(
        self,
        images,
        prompt=None,
        sampler="greedy",
        max_length=None,
        min_length=0,
        seed=None,
        return_scores=False,
        **sampler_options,
    ):
        """Writes captions.

        The compiled function is kept: the next call with the same shapes and sampler reuses it.

        Args:
            images: float (B, H, W, 3), preprocessed; with a preprocessor also encoded bytes, or
                uint8 pixels (B, h, w, 3).
            prompt: beginning that every caption continues: a string, B strings, or token ids
                (B, P) that begin with BOS; None for none.
            sampler: "greedy", "beam", "top_k", "top_p", the name of a keras_hub sampler, or a
                sampler object.
            max_length: longest sequence in tokens, BOS, prompt and EOS included, at most one more
                than the model has positions for, which None stands for.
            min_length: EOS is not written before this many tokens.
            seed: of the samplers that draw; None for another one each time.
            return_scores: whether to return sums of log-probabilities too.
            **sampler_options: of the sampler made by name, as `num_beams=5`, `k=10`, `p=0.9`.

        Returns:
            With a preprocessor B strings, else token ids (B, T). A sampler that returns N captions
            an image gives lists of N strings, or (B, N, T). With `return_scores`, a pair of that
            and scores (B,) or (B, N).

        Raises:
            InvalidInputError: on images, prompts or options that do not fit.
        """
        sampler = generation.get_sampler(sampler, **sampler_options)
        images = model_inputs.as_images(self.preprocessor, images)
        capacity = self.max_length + 1
        max_length = capacity if max_length is None else min(max_length, capacity)
        prompt_token_ids, prompt_mask = self._prompt(prompt, len(images))
        seed = sampler.draw_seed() if seed is None else seed
        function = self._generate_function(sampler, max_length, min_length)
        result = function(
            images,
            ops.convert_to_tensor(prompt_token_ids, "int32"),
            ops.convert_to_tensor(prompt_mask, "bool"),
            ops.convert_to_tensor(seed, "int32"),
        )
        captions = ops.convert_to_numpy(result["token_ids"])
        if self.preprocessor is not None:
            captions = self._detokenize(captions)
        if return_scores:
            return captions, ops.convert_to_numpy(result["scores"])
        return captions

    def _written_vocabulary_size(self):
        """Ids from here on are never written: a vocabulary padded for speed has no words there."""
        if self.preprocessor is None:
            return self.vocabulary_size
        return self.preprocessor.tokenizer.vocabulary_size

    def _detokenize(self, captions):
        if captions.ndim == 2:
            return self.preprocessor.generate_postprocess(captions)
        return [self.preprocessor.generate_postprocess(rows) for rows in captions]

    def _prompt(self, prompt, batch_size):
        if prompt is None:
            start = np.full((batch_size, 1), self.bos_token_id, "int32")
            return start, np.ones_like(start, dtype=bool)
        if isinstance(prompt, (str, bytes)):
            prompt = [prompt] * batch_size
        if len(prompt) != batch_size:
            raise InvalidInputError(
                f"{len(prompt)} prompts for {batch_size} images; pass one for all, or one for each"
            )
        if isinstance(prompt[0], (str, bytes)):
            if self.preprocessor is None:
                raise InvalidInputError(
                    "the prompt is a string but the model has no preprocessor; pass token ids "
                    "(B, P) that begin with BOS, or set model.preprocessor"
                )
            return self.preprocessor.generate_preprocess(prompt)
        prompt = np.asarray(prompt, "int32")
        return prompt, prompt != self.pad_token_id

    def generate_token_ids(
        self, images, prompt_token_ids, prompt_mask, seed, sampler, max_length, min_length=0
    ):
        """What `generate` compiles: tensors in, tensors out, for graphs such as a SavedModel's.

        Args:
            images: (B, H, W, 3) float, preprocessed.
            prompt_token_ids: (B, P) int32, each row beginning with BOS.
            prompt_mask: (B, P) boolean, False on padding.
            seed: int scalar.
            sampler: a sampler object.
            max_length: T, at most one more than the model has positions for.
            min_length: EOS is not written before this many tokens.

        Returns:
            {"token_ids": (B, T) or (B, N, T), "scores": (B,) or (B, N)}.
        """
        return generation.generate(
            self.decode_step,
            self.init_cache(images, max_length),
            prompt_token_ids,
            prompt_mask,
            sampler=sampler,
            max_length=max_length,
            min_length=min_length,
            bos_token_id=self.bos_token_id,
            eos_token_id=self.eos_token_id,
            pad_token_id=self.pad_token_id,
            vocabulary_size=self._written_vocabulary_size(),
            seed=seed,
        )

    def _generate_function(self, sampler, max_length, min_length):
        key = (sampler.signature, max_length, min_length, self._written_vocabulary_size())
        if key not in self._functions:
            self._functions[key] = compiled(
                lambda *tensors: self.generate_token_ids(
                    *tensors, sampler, max_length, min_length
                )
            )
        return self._functions[key]


def compiled(function):
    """A function of tensors, compiled by the backend once for each set of shapes."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # AutoGraph would turn our errors into its own; loops here are Keras' already.
        return tf.function(function, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
