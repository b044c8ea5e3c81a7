"""The two SavedModels of the TF-Hub text API: a preprocessor and an encoder of its outputs.

    texts → preprocessor → {"input_word_ids", "input_mask"} → encoder → {"pooled_output"}

Shapes: B texts, L tokens, E embedding width, D width of the text decoder.
"""

import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.models.protocols import DualEncoder
from official_coca.preprocessing.safe_texts import safe_token_ids


class TextPreprocessor(tf.Module):
    """(B,) strings → {"input_word_ids": (B, L) int32, "input_mask": (B, L) int32}.

    A text that is not UTF-8, or has no words, becomes BOS alone.

    Args:
        preprocessor: an `ImageTextPreprocessor`.
    """

    def __init__(self, preprocessor):
        super().__init__(name="text_preprocessor")
        self.preprocessor = preprocessor

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def __call__(self, text):
        token_ids, _ = safe_token_ids(self.preprocessor, text)
        is_real = token_ids != self.preprocessor.tokenizer.pad_token_id
        return {"input_word_ids": token_ids, "input_mask": tf.cast(is_real, tf.int32)}


class TextEncoder(tf.Module):
    """What `TextPreprocessor` returns → {"pooled_output": (B, E), "default": the same}.

    The embedding is float32 and L2-normalised; it can be trained further.

    Args:
        model: a dual encoder with a preprocessor.

    Raises:
        InvalidInputError: the model does not embed texts.
    """

    # Assigned below; see `ExportModule`.
    variables = trainable_variables = ()

    def __init__(self, model):
        super().__init__(name="text_encoder")
        if not isinstance(model, DualEncoder):
            raise InvalidInputError(f"{type(model).__name__} does not embed texts: no text pair")
        self._encode = lambda token_ids: model.encode_text(token_ids)
        self.variables = [variable.value for variable in model.weights]
        self.trainable_variables = [variable.value for variable in model.trainable_weights]
        self.regularization_losses = []
        tokens = tf.TensorSpec((None, model.preprocessor.max_length), tf.int32)
        inputs = {"input_word_ids": tokens, "input_mask": tokens}
        for training in (False, True):
            self.__call__.get_concrete_function(inputs, training=training)

    @tf.function(autograph=False)
    def __call__(self, inputs, training=False):
        del training  # no dropout
        embedding = self._encode(inputs["input_word_ids"])
        return {"pooled_output": embedding, "default": embedding}
