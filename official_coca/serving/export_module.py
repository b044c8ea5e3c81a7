"""A captioner as a SavedModel: encoded images and strings in, embeddings and captions out.

Shapes: B requests of a batch, E embedding width.
"""

import pathlib

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.generation import generate as generation


class ExportModule(tf.Module):
    """What a SavedModel of a captioner can do; each method is a signature of the same name.

    Preprocessing is the model's own and is part of the graph, so a served image gets the pixels
    that evaluation gives it. Whoever loads the SavedModel imports tensorflow_text first, for the
    tokenizer's operations.

    Args:
        model: a captioner with a preprocessor, such as `CoCa`.
        sampler: what `generate` takes: a name or an object.
        max_length: longest caption in tokens; None for the model's limit.
        **sampler_options: of a sampler given by name, as `num_beams=5`.

    Raises:
        InvalidInputError: the model has no preprocessor.
    """

    def __init__(self, model, sampler="greedy", max_length=None, **sampler_options):
        super().__init__(name="official_coca")
        if model.preprocessor is None:
            raise InvalidInputError(
                "the model has no preprocessor, so it cannot serve bytes and strings; set "
                "model.preprocessor before the export"
            )
        self._model = model
        self._sampler = generation.get_sampler(sampler, **sampler_options)
        self._max_length = min(max_length or model.max_length + 1, model.max_length + 1)
        # A SavedModel keeps what its module tracks: flat, since layers in lists are not followed.
        self.weights = [variable.value for variable in model.variables]
        self.preprocessor = model.preprocessor

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def encode_image(self, images):
        """(B,) encoded images → {"image_embedding": (B, E) float32, L2-normalised}."""
        pixels = self.preprocessor.convert_images(images)
        return {"image_embedding": self._model.image_features(pixels)[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def encode_text(self, texts):
        """(B,) strings → {"text_embedding": (B, E) float32, L2-normalised}."""
        token_ids = self.preprocessor.token_ids(texts)
        return {"text_embedding": self._model.text_features(token_ids)[0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="images"),
            tf.TensorSpec([None], tf.string, name="prompts"),
        ]
    )
    def generate(self, images, prompts):
        """(B,) encoded images and (B,) beginnings → {"captions": (B,), "scores": (B,)}.

        An empty beginning leaves the caption free. A sampler that returns N captions an image
        gives (B, N).
        """
        prompt_token_ids, prompt_mask = (
            self._to_full_width(values)
            for values in self.preprocessor.generate_preprocess(prompts)
        )
        result = self._model.generate_token_ids(
            self.preprocessor.convert_images(images),
            prompt_token_ids,
            prompt_mask,
            tf.constant(0),
            self._sampler,
            self._max_length,
        )
        captions = self.preprocessor.tokenizer.detokenize(result["token_ids"])
        return {"captions": captions, "scores": result["scores"]}

    def _to_full_width(self, values):
        """(B, P) → (B, max_length), filled up with zeros: decoding wants a width that is known."""
        values = values[:, : self._max_length]
        missing = self._max_length - tf.shape(values)[1]
        return tf.ensure_shape(
            tf.pad(values, [[0, 0], [0, missing]]), (None, self._max_length)
        )


def export_saved_model(model, directory, sampler="greedy", max_length=None, **sampler_options):
    """Writes a SavedModel with the signatures of `ExportModule`.

    Args:
        model: a captioner with a preprocessor.
        directory: of the SavedModel.
        sampler: see `ExportModule`.
        max_length: see `ExportModule`.
        **sampler_options: see `ExportModule`.
    """
    directory = pathlib.Path(directory)
    if directory.is_file():
        raise InvalidInputError(f"cannot export to {directory}: it is a file")
    module = ExportModule(model, sampler, max_length, **sampler_options)
    signatures = {
        name: getattr(module, name) for name in ("encode_image", "encode_text", "generate")
    }
    tf.saved_model.save(module, str(directory), signatures=signatures)
