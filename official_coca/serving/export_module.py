"""A model as a SavedModel: encoded images and strings in, embeddings and captions out.

Shapes: B rows of a batch, E embedding width, K labels, M templates, C texts, L tokens, H x W
pixels of the model, T tokens of a caption.
"""

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.generation import generate as generation
from official_coca.models.protocols import Captioner, DualEncoder
from official_coca.preprocessing.safe_decode import MAX_PIXELS
from official_coca.preprocessing.safe_texts import safe_texts
from official_coca.serving.model_graphs import ModelGraphs
from official_coca.serving.signatures import SIGNATURES
from official_coca.serving.text_classes import class_embeddings, label_prompts


class ExportModule(tf.Module):
    """What a SavedModel of a model can do; `signatures.py` describes each method.

    Preprocessing is the model's own and is part of the graph, so a served image gets the pixels
    that evaluation gives it. Bad rows come out as zeros and `valid` False, and do not touch the
    others. The methods are those of `signatures.py` that the model is capable of; besides, for
    those who fine-tune, calling the module embeds a batch of preprocessed images in one pass, and
    `preprocess_images` and `tokenize` give what the tensor methods take. Without signatures that
    take or give texts there is no `tokenize`, and no operation of the tokenizer in the graph.

    Args:
        model: a dual encoder with a preprocessor, a captioner or both, such as `CoCa`.
        sampler: how captions are written: a name or an object.
        max_caption_length: longest caption in tokens; None for the model's limit.
        max_image_pixels: larger pictures are bad rows.
        merge_rows: one pass over the whole batch instead of row after row, or a few rows at a time
            for greedy captions: what accelerators want, and captions by other samplers. A row's
            last bits then depend on the size of the batch.
        signatures: names of those to offer; None for all that the model is capable of.
        **sampler_options: of a sampler given by name, as `num_beams=5`.

    Raises:
        InvalidInputError: the model has no preprocessor, or can neither embed nor write.
    """

    # A SavedModel keeps what is assigned to its module; these would be computed otherwise.
    variables = trainable_variables = ()

    def __init__(
        self,
        model,
        sampler="greedy",
        max_caption_length=None,
        max_image_pixels=MAX_PIXELS,
        merge_rows=False,
        signatures=None,
        **sampler_options,
    ):
        super().__init__(name="official_coca")
        _check_model(model)
        if not isinstance(max_image_pixels, int) or max_image_pixels < 1:
            raise InvalidInputError(
                f"max_image_pixels={max_image_pixels!r} must be a positive integer"
            )
        sampler = generation.get_sampler(sampler, **sampler_options)
        self.caption_length = _caption_length(model, max_caption_length)
        self._graphs = ModelGraphs(
            model, sampler, self.caption_length, max_image_pixels, merge_rows
        )
        self.max_image_pixels = max_image_pixels
        self.merge_rows = merge_rows
        # Flat, since layers in lists are not followed.
        self.variables = [variable.value for variable in model.weights]
        self.trainable_variables = [variable.value for variable in model.trainable_weights]
        self.regularization_losses = []
        self.offered_signatures = _chosen_signatures(model, signatures)
        for signature in self.offered_signatures:
            specs = [tensor.spec(self.sizes) for tensor in signature.inputs]
            setattr(self, signature.name, _graph(self._method(signature.name), specs))
        self.preprocess_images = _graph(
            self._preprocess_images, [tf.TensorSpec([None], tf.string, name="image_bytes")]
        )
        if any(signature.has_texts for signature in self.offered_signatures):
            self.tokenize = _graph(self._tokenize, [tf.TensorSpec([None], tf.string, name="text")])
            # Its tables are part of the SavedModel, which then loads only where its operations are.
            self.tracked_preprocessor = model.preprocessor

    @property
    def preprocessor(self):
        """The model's."""
        return self._graphs.model.preprocessor

    @property
    def sizes(self):
        """{"H": height, "W": width} of the pixels that the model takes."""
        return dict(zip("HW", self.preprocessor.image_converter.image_size))

    @tf.function(autograph=False)
    def __call__(self, images, training=False):
        """(B, H, W, 3) preprocessed → (B, E), in one pass over the batch."""
        if training:  # Callers such as hub.KerasLayer pass it; the models have no dropout.
            return self(images, training=False)
        return self._graphs.encode_images(images)

    @property
    def default_signature(self):
        """The one that is also called serving_default: encode_image, or else the first."""
        by_name = {signature.name: signature for signature in self.offered_signatures}
        return by_name.get("encode_image", self.offered_signatures[0])

    def trace_calls(self):
        """Makes the graphs that a SavedModel keeps of calling the module."""
        if isinstance(self._graphs.model, DualEncoder):
            images = tf.TensorSpec((None, *self.sizes.values(), 3), tf.float32, name="images")
            for training in (False, True):
                self.__call__.get_concrete_function(images, training=training)

    def _method(self, name):
        if name != "generate":
            return getattr(self, f"_{name}")

        # A default goes into the signature if it is a tensor, which cannot be made on import.
        def generate(image_bytes, prompt=tf.constant([""])):
            return self._generate(image_bytes, prompt)

        return generate

    # === Signatures ===

    def _encode_image(self, image_bytes):
        embedding, valid = self._embed_files(image_bytes)
        return {"image_embedding": embedding, "valid": valid}

    def _encode_text(self, text):
        embedding, valid = self._embed_texts(text)
        return {"text_embedding": embedding, "valid": valid}

    def _classify(self, image_bytes, labels, templates):
        images, valid = self._embed_files(image_bytes)
        prompts = label_prompts(labels, templates, self.preprocessor.max_length)
        texts, are_good = self._embed_texts(tf.reshape(prompts, [-1]))
        num_labels, num_templates = tf.unstack(tf.shape(prompts))
        classes = class_embeddings(
            tf.reshape(texts, (num_labels, num_templates, texts.shape[-1]))
        )
        is_class = tf.reduce_any(tf.reshape(are_good, tf.shape(prompts)), axis=1)
        temperature = tf.convert_to_tensor(self._graphs.model.temperature)

        def softmax(images):
            logits = tf.matmul(images, classes, transpose_b=True) / temperature
            return tf.nn.softmax(tf.where(is_class, logits, logits.dtype.min))

        probabilities = self._graphs.of_each(softmax, images)
        valid = valid & tf.reduce_any(is_class)
        return {"probabilities": _where(valid, probabilities), "valid": valid}

    def _score(self, image_bytes, text):
        images, image_valid = self._embed_files(image_bytes)
        texts, text_valid = self._embed_texts(text)
        similarity = self._graphs.of_each(
            lambda rows: tf.matmul(rows, texts, transpose_b=True), images
        )
        return {"similarity": similarity, "image_valid": image_valid, "text_valid": text_valid}

    def _generate(self, image_bytes, prompt):
        images, valid = self._graphs.decode_images(image_bytes)
        prompt = _one_for_each(prompt, tf.shape(image_bytes)[0])
        prompt, is_utf8 = safe_texts(prompt, self.caption_length)
        token_ids, mask = (
            _to_width(values, self.caption_length)
            for values in self.preprocessor.generate_preprocess(prompt)
        )
        return self._captions(images, token_ids, mask, valid & is_utf8)

    def _caption(self, image_bytes):
        images, valid = self._graphs.decode_images(image_bytes)
        return self._captions(images, *self._no_prompts(images), valid)

    def _encode_image_tensor(self, images):
        embedding = self._graphs.embed_images(images)
        valid = _are_finite(images) & _are_finite(embedding)
        return {"image_embedding": _where(valid, embedding), "valid": valid}

    def _encode_token_ids(self, token_ids):
        token_ids, valid = self._checked_token_ids(token_ids)
        embedding = self._graphs.embed_token_ids(token_ids)
        return {"text_embedding": _where(valid, embedding), "valid": valid}

    def _generate_token_ids(self, images):
        result = self._graphs.write(images, *self._no_prompts(images))
        valid = _are_finite(images) & _are_finite(result["scores"])
        return {
            "token_ids": _where(valid, result["token_ids"]),
            "score": _where(valid, result["scores"]),
            "valid": valid,
        }

    def _preprocess_images(self, image_bytes):
        return dict(zip(("images", "valid"), self._graphs.decode_images(image_bytes)))

    def _tokenize(self, text):
        return dict(zip(("token_ids", "valid"), self._graphs.tokenize(text)))

    # === Parts that signatures share ===

    def _embed_files(self, image_bytes):
        images, valid = self._graphs.decode_images(image_bytes)
        return _where(valid, self._graphs.embed_images(images)), valid

    def _embed_texts(self, texts):
        token_ids, valid = self._graphs.tokenize(texts)
        return _where(valid, self._graphs.embed_token_ids(token_ids)), valid

    def _captions(self, images, prompt_token_ids, prompt_mask, valid):
        result = self._graphs.write(images, prompt_token_ids, prompt_mask)
        return {
            "caption": _where(valid, self._graphs.detokenize(result["token_ids"])),
            "score": _where(valid, result["scores"]),
            "valid": valid,
        }

    def _checked_token_ids(self, token_ids):
        tokenizer, max_length = self.preprocessor.tokenizer, self.preprocessor.max_length
        token_ids = _to_width(token_ids, max_length, tokenizer.pad_token_id)
        known = (token_ids >= 0) & (token_ids < self._graphs.model.vocabulary_size)
        has_tokens = tf.reduce_any(token_ids != tokenizer.pad_token_id, axis=1)
        valid = tf.reduce_all(known, axis=1) & has_tokens
        return tf.where(valid[:, tf.newaxis], token_ids, tokenizer.bos_token_id), valid

    def _no_prompts(self, images):
        bos = tf.fill((tf.shape(images)[0], 1), self.preprocessor.tokenizer.bos_token_id)
        mask = tf.ones_like(bos, tf.bool)
        return _to_width(bos, self.caption_length), _to_width(mask, self.caption_length)


def _graph(method, specs):
    return tf.function(method, input_signature=specs, autograph=False)


def _chosen_signatures(model, names):
    possible = [
        signature
        for signature in SIGNATURES
        if isinstance(model, Captioner if signature.writes else DualEncoder)
    ]
    possible_names = [signature.name for signature in possible]
    unknown = [name for name in names or () if name not in possible_names]
    if unknown or names == []:
        raise InvalidInputError(
            f"signatures: {', '.join(unknown) or 'none'}; {type(model).__name__} can offer "
            f"{', '.join(possible_names)}"
        )
    return tuple(s for s in possible if names is None or s.name in names)


def _check_model(model):
    if not isinstance(model, (DualEncoder, Captioner)):
        raise InvalidInputError(
            f"{type(model).__name__} can neither embed nor write captions; see models/protocols.py"
        )
    if model.preprocessor is None:
        raise InvalidInputError(
            "the model has no preprocessor, so it cannot serve bytes and strings; set "
            "model.preprocessor before the export"
        )


def _caption_length(model, max_caption_length):
    if not isinstance(model, Captioner):
        return None
    if max_caption_length is not None and max_caption_length < 2:
        raise InvalidInputError(
            f"max_caption_length={max_caption_length} leaves no room for a caption between BOS "
            "and EOS; give 2 or more"
        )
    limit = model.max_length + 1
    return min(max_caption_length or limit, limit)


def _one_for_each(prompts, batch_size):
    """(B,) prompts of B, of one for all, or of none."""
    given = tf.size(prompts)
    tf.debugging.Assert(
        (given == batch_size) | (given <= 1),
        ["prompt needs one string for each image, or one for all; prompts, images:", given,
         batch_size],
    )  # fmt: skip
    rows = tf.where(given == batch_size, tf.range(batch_size), 0)
    return tf.gather(tf.concat([prompts, [""]], axis=0), rows)


def _to_width(values, width, padding=0):
    """(B, P) → (B, width), cut or filled up; decoding wants a width that is known."""
    values = values[:, :width]
    missing = width - tf.shape(values)[1]
    padding = tf.cast(padding, values.dtype)
    values = tf.pad(values, [[0, 0], [0, missing]], constant_values=padding)
    return tf.ensure_shape(values, (None, width))


def _are_finite(values):
    """Which rows of (B, ...) are; pixels that are can still be too large to compute with."""
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, values.shape.rank)))


def _where(valid, values):
    """The values of valid rows, zero or "" for the others."""
    valid = tf.reshape(valid, [-1] + [1] * (values.shape.rank - 1))
    return tf.where(valid, values, tf.zeros((), values.dtype))
