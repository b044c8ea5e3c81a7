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
    """Adds `generate` to families that have `init_cache` and `decode_step`.

    Attributes:
        open_clip_decoding: whether captions are written by open_clip's rules (see
            `DecodingRules.open_clip_rules`), as a model with its weights should.
    """

    open_clip_decoding = False

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
                (P,) or (B, P) that begin with BOS, with PAD at the end of shorter rows; None for
                none.
            sampler: "greedy", "beam", "top_k", "top_p", "open_clip_beam", the name of a keras_hub
                sampler, or a sampler object.
            max_length: longest sequence in tokens, BOS, prompt and EOS included, at most one more
                than the model has positions for, which None stands for.
            min_length: EOS is not written before this many tokens.
            seed: of the samplers that draw; None for another one each time.
            return_scores: whether to return sums of log-probabilities too.
            **sampler_options: of the sampler made by name, as `num_beams=5`, `k=10`, `p=0.9`,
                `repetition_penalty=1.2`.

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
        function = self._generate_function(sampler, max_length, min_length, return_scores)
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
        if len(prompt) and isinstance(prompt[0], (str, bytes)):
            _require_one_for_each(prompt, batch_size)
            if self.preprocessor is None:
                raise InvalidInputError(
                    "the prompt is a string but the model has no preprocessor; pass token ids "
                    "(B, P) that begin with BOS, or set model.preprocessor"
                )
            return self.preprocessor.generate_preprocess(prompt)
        return self._prompt_of_ids(prompt, batch_size)

    def _prompt_of_ids(self, prompt, batch_size):
        """Token ids (B, P) and their mask; only PAD at the end of a row is padding.

        CLIP's PAD is also the id of a word, "!", which may stand anywhere before that.
        """
        try:
            token_ids = np.asarray(prompt)
        except ValueError:  # rows of different lengths
            token_ids = np.zeros(0)
        if token_ids.dtype.kind not in "iu" or token_ids.ndim not in (1, 2):
            raise InvalidInputError(
                "the prompt is neither text nor whole numbers of shape (P,) or (B, P); fill "
                f"shorter rows up with {self.pad_token_id}"
            )
        if token_ids.ndim == 1:
            token_ids = np.repeat(token_ids[None], batch_size, axis=0)
        _require_one_for_each(token_ids, batch_size)
        foreign = token_ids[(token_ids < 0) | (token_ids >= self.vocabulary_size)]
        if foreign.size:
            raise InvalidInputError(
                f"the prompt holds the token id {foreign[0]}; the model's vocabulary has the ids "
                f"0 to {self.vocabulary_size - 1}"
            )
        given_later = np.cumsum((token_ids != self.pad_token_id)[:, ::-1], axis=1)[:, ::-1]
        mask = given_later > 0
        width = max(1, np.count_nonzero(mask.any(axis=0)))
        return token_ids[:, :width].astype("int32"), mask[:, :width]

    def generate_token_ids(
        self,
        images,
        prompt_token_ids,
        prompt_mask,
        seed,
        sampler,
        max_length,
        min_length=0,
        return_scores=True,
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
            return_scores: False leaves scores out, and the work for them.

        Returns:
            {"token_ids": (B, T) or (B, N, T), "scores": (B,) or (B, N)}.
        """
        return self.generate_from_cache(
            self.init_cache(images, max_length),
            prompt_token_ids,
            prompt_mask,
            seed,
            sampler,
            max_length,
            min_length,
            return_scores,
        )

    def generate_from_cache(
        self,
        cache,
        prompt_token_ids,
        prompt_mask,
        seed,
        sampler,
        max_length,
        min_length=0,
        return_scores=True,
    ):
        """`generate_token_ids` with what `init_cache` returned in place of the images."""
        return generation.generate(
            self.decode_step,
            cache,
            prompt_token_ids,
            prompt_mask,
            sampler=sampler,
            max_length=max_length,
            min_length=min_length,
            bos_token_id=self.bos_token_id,
            eos_token_id=self.eos_token_id,
            pad_token_id=self.pad_token_id,
            vocabulary_size=self._written_vocabulary_size(),
            open_clip_rules=self.open_clip_decoding,
            seed=seed,
            return_scores=return_scores,
        )

    def _generate_function(self, sampler, *options):
        """`generate_token_ids` with the options after `sampler`, compiled and kept."""
        rules = (self._written_vocabulary_size(), self.open_clip_decoding)
        key = (sampler.signature, *options, *rules)
        if key not in self._functions:
            self._functions[key] = compiled(
                lambda *tensors: self.generate_token_ids(*tensors, sampler, *options)
            )
        return self._functions[key]


def _require_one_for_each(prompts, batch_size):
    if len(prompts) != batch_size:
        raise InvalidInputError(
            f"{len(prompts)} prompts for {batch_size} images; pass one for all, or one for each"
        )


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
