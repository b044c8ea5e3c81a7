"""The graphs that several signatures share: traced once, so that a SavedModel loads quickly.

Shapes: B rows, E embedding width, L tokens of a text, C texts, H x W pixels of the model, T tokens
of a caption.
"""

import functools

import tensorflow as tf

from official_coca.models.protocols import Captioner, DualEncoder
from official_coca.preprocessing.safe_decode import SafeImageDecoder
from official_coca.preprocessing.safe_texts import safe_token_ids
from official_coca.serving.row_by_row import row_by_row
from official_coca.serving.row_groups import can_write_in_groups, write_in_groups

# Texts are cut to a multiple of this many tokens, so that short ones cost less than long ones; but
# not by a model of two such steps, since TensorFlow is quicker with few tokens of known number.
_TEXT_STEP = 8


class ModelGraphs:
    """What signatures are put together from; functions of tensors, for use in other graphs.

    It is no `tf.Module`: a SavedModel would keep the model's layers, and its functions traced
    anew, if they were attributes of a module.

    Args:
        model: a dual encoder, a captioner, or both.
        sampler: an object that writes captions.
        caption_length: T.
        max_image_pixels: larger pictures are not decoded.
        merge_rows: whether a batch is computed in one pass; else row by row, or in groups that
            keep the bits of each row.

    Attributes:
        model: the model.
        decode_images: (B,) files → pixels (B, H, W, 3) and valid (B,).
        tokenize: (B,) texts → token ids (B, L) and valid (B,).
        encode_images: pixels (B, H, W, 3) → (B, E), in one pass.
        embed_images: the same, a row's bits independent of the others.
        embed_token_ids: token ids (B, L) → (B, E).
        detokenize: (B, T) token ids → (B,) captions.
        write: pixels, prompts (B, T) and their mask → {"token_ids": (B, T), "scores": (B,)}.
    """

    def __init__(self, model, sampler, caption_length, max_image_pixels, merge_rows):
        preprocessor = model.preprocessor
        images = tf.TensorSpec((None, *preprocessor.image_converter.image_size, 3), tf.float32)
        texts = tf.TensorSpec([None], tf.string)
        self.model = model
        self._merge_rows = merge_rows
        self._pad_token_id = preprocessor.tokenizer.pad_token_id
        self.decode_images = _graph(
            SafeImageDecoder(preprocessor.image_converter, max_image_pixels), texts
        )
        self.tokenize = _graph(lambda texts: safe_token_ids(preprocessor, texts), texts)
        if isinstance(model, DualEncoder):
            self.embed_images = self._by_row(model.encode_image, images)
            self.encode_images = self.embed_images if merge_rows else model.encode_image
            self.embed_token_ids = self._by_row(
                lambda token_ids: model.encode_text(self._without_padding(token_ids)),
                tf.TensorSpec((None, preprocessor.max_length), tf.int32),
            )
        if isinstance(model, Captioner):

            def write(images, prompt_token_ids, prompt_mask):
                return model.generate_token_ids(
                    images, prompt_token_ids, prompt_mask, tf.constant(0), sampler, caption_length
                )

            prompts = tf.TensorSpec((None, caption_length), tf.int32)
            self.detokenize = _graph(
                lambda ids: tf.strings.strip(preprocessor.tokenizer.detokenize(ids)), prompts
            )
            specs = images, prompts, tf.TensorSpec((None, caption_length), tf.bool)
            if not merge_rows and can_write_in_groups(model, sampler):
                write = functools.partial(write_in_groups, model, sampler, caption_length)
                self.write = _graph(write, *specs)
            else:
                self.write = self._by_row(write, *specs)

    def of_each(self, function, embeddings):
        """Applies `function`, (n, E) → (n, any), to embeddings (B, E); see `row_by_row`."""
        if self._merge_rows:
            return function(embeddings)
        # The row more gives an empty batch a shape.
        rows = tf.map_fn(
            lambda row: function(row[tf.newaxis])[0],
            tf.pad(embeddings, [[0, 1], [0, 0]]),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )
        return rows[:-1]

    def _by_row(self, function, *specs):
        if self._merge_rows:
            return _graph(function, *specs)
        variables = self.model.weights
        return _graph(lambda *tensors: row_by_row(function, tensors, variables), *specs)

    def _without_padding(self, token_ids):
        """Cuts rows (B, L) to their longest, rounded up, unless the padding counts."""
        is_short = token_ids.shape[1] <= 2 * _TEXT_STEP
        if is_short or getattr(self.model, "padding_changes_text_embedding", False):
            return token_ids
        real = tf.cast(token_ids != self._pad_token_id, tf.int32)
        positions = tf.range(1, tf.shape(token_ids)[1] + 1)
        longest = tf.reduce_max(tf.concat([[1], tf.reshape(real * positions, [-1])], axis=0))
        return token_ids[:, : -(-longest // _TEXT_STEP) * _TEXT_STEP]


def _graph(function, *specs):
    return tf.function(function, input_signature=specs, autograph=False)
