"""The signatures of an exported model: names, inputs and outputs, and what they mean.

The export, the warm-up requests and the model card are all made from this table.

Shapes: B rows of a batch, E embedding width, K labels, M templates, C texts, L tokens of a text,
H x W pixels of the model, T tokens of a caption.
"""

import dataclasses

import tensorflow as tf

IMAGE_BYTES = "content of a JPEG, PNG, GIF, BMP or WebP file"
VALID = "False for a bad row, whose other outputs are zero or empty"
TOKEN_IDS = (
    "BOS, then tokens, padded on the right; narrower rows are filled up with padding to the "
    "model's length, on which the embedding depends if the class token has a position"
)
CAPTION_SCORE = (
    "log-probability of what was written, divided by the length penalty where beam search has one; "
    "with open_clip_beam a sum of raw logits, divided by the length"
)
IMAGES = "pixels as the model's preprocessing leaves them: resized, (x / 255 - mean) / std"


@dataclasses.dataclass(frozen=True)
class NamedTensor:
    """An input or output: its name, dtype, shape in the letters above, and meaning."""

    name: str
    dtype: tf.DType
    shape: tuple
    meaning: str

    def spec(self, sizes):
        """The `tf.TensorSpec`; letters that `sizes` does not name stay open."""
        shape = [sizes.get(axis) if isinstance(axis, str) else axis for axis in self.shape]
        return tf.TensorSpec(shape, self.dtype, name=self.name)


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of the SavedModel.

    Args:
        name: the name it is called by, in a request and as a method of the loaded object.
        meaning: one sentence.
        inputs: `NamedTensor` of each input.
        outputs: `NamedTensor` of each output.
        writes: whether the model must be a captioner rather than a dual encoder.
    """

    name: str
    meaning: str
    inputs: tuple
    outputs: tuple
    writes: bool = False

    @property
    def has_texts(self):
        """Whether texts go in or out, for which the graph needs the tokenizer's operations."""
        tensors = (*self.inputs, *self.outputs)
        return any(t.dtype == tf.string and t.name != "image_bytes" for t in tensors)


def _input_bytes():
    return NamedTensor("image_bytes", tf.string, ("B",), IMAGE_BYTES)


def _input_images():
    return NamedTensor("images", tf.float32, ("B", "H", "W", 3), IMAGES)


def _valid(name="valid", axis="B"):
    return NamedTensor(name, tf.bool, (axis,), VALID)


def _embedding(name):
    return NamedTensor(name, tf.float32, ("B", "E"), "L2-normalised embedding")


def _captions():
    return (
        NamedTensor("caption", tf.string, ("B",), "what the model writes, the prompt included"),
        NamedTensor("score", tf.float32, ("B",), CAPTION_SCORE),
        _valid(),
    )


SIGNATURES = (
    Signature(
        "encode_image",
        "Embeds pictures.",
        (_input_bytes(),),
        (_embedding("image_embedding"), _valid()),
    ),
    Signature(
        "encode_text",
        "Embeds texts. Texts that are too long are cut.",
        (NamedTensor("text", tf.string, ("B",), "UTF-8"),),
        (_embedding("text_embedding"), _valid()),
    ),
    Signature(
        "classify",
        "Zero-shot classification: how probable each label is for each picture.",
        (
            _input_bytes(),
            NamedTensor("labels", tf.string, ("K",), "names of the classes"),
            NamedTensor("templates", tf.string, ("M",), "with one {} each; none: labels alone"),
        ),
        (
            NamedTensor("probabilities", tf.float32, ("B", "K"), "sum to 1 over good labels"),
            _valid(),
        ),
    ),
    Signature(
        "score",
        "Cosine similarity of every picture and every text.",
        (_input_bytes(), NamedTensor("text", tf.string, ("C",), "UTF-8")),
        (
            NamedTensor("similarity", tf.float32, ("B", "C"), "from -1 to 1"),
            _valid("image_valid"),
            _valid("text_valid", "C"),
        ),
    ),
    Signature(
        "generate",
        "Captions pictures, going on from a prompt.",
        (
            _input_bytes(),
            NamedTensor("prompt", tf.string, ("B",), 'beginnings; "" or left out: none'),
        ),
        _captions(),
        writes=True,
    ),
    Signature(
        "caption",
        "Captions pictures; `generate` for callers that cannot leave an input out.",
        (_input_bytes(),),
        _captions(),
        writes=True,
    ),
    Signature(
        "encode_image_tensor",
        "Embeds pictures that are preprocessed.",
        (_input_images(),),
        (_embedding("image_embedding"), _valid()),
    ),
    Signature(
        "encode_token_ids",
        "Embeds texts that are tokenized.",
        (NamedTensor("token_ids", tf.int32, ("B", "L"), TOKEN_IDS),),
        (_embedding("text_embedding"), _valid()),
    ),
    Signature(
        "generate_token_ids",
        "Captions pictures that are preprocessed, in token ids.",
        (_input_images(),),
        (
            NamedTensor("token_ids", tf.int32, ("B", "T"), "BOS, the caption, EOS, padding"),
            NamedTensor("score", tf.float32, ("B",), CAPTION_SCORE),
            _valid(),
        ),
        writes=True,
    ),
)
SIGNATURE_NAMES = tuple(signature.name for signature in SIGNATURES)
