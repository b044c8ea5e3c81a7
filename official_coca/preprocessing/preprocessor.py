"""Raw pictures and texts to the batch a captioner trains on; the only next-token shift.

Shapes: B batch, L tokens, P prompt tokens, h x w pixels as stored, H x W pixels of the model.
"""

import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import image  # noqa: F401  (registers what configs name)
from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer
from official_coca.preprocessing.tokenizer import SentencePieceTokenizer

TOKENIZER_DIRECTORY = os.path.join("assets", "tokenizer")

_RAW_KEYS = {"images", "texts", "source_ids"}
_TOKENIZERS = {kind.__name__: kind for kind in (CLIPTokenizer, SentencePieceTokenizer)}


@keras.saving.register_keras_serializable(package="official_coca")
class ImageTextPreprocessor(tf.Module):
    """Makes `(x, y, sample_weight)` of pictures and texts, in Python, `tf.data` or a SavedModel.

    A text of tokens t1..tn becomes the input `[BOS, t1..tn]` and the target `[t1..tn, EOS]`, both
    cut to `max_length` and padded on the right. A text that is cut loses its EOS, so that no
    model learns to stop where the limit happened to be.

    With `texts_end_with_eos`, the convention of open_clip, the input is `[BOS, t1..tn, EOS]`, whose
    last place is EOS even if it is cut, and the target is the input from its second token on.

    Args:
        tokenizer: a `CLIPTokenizer` or a `SentencePieceTokenizer`.
        image_converter: an `ImageConverter`.
        max_length: the longest row, BOS included.
        length_buckets: row lengths to round the longest text of a batch up to, so that few shapes
            are compiled; `max_length` is always one of them. None given: always `max_length`.
        texts_end_with_eos: whether inputs have the EOS, as open_clip's models were trained.

    Example:
        preprocessor = ImageTextPreprocessor(tokenizer, ImageConverter(288))
        dataset = tf.data.Dataset.from_tensor_slices((encoded_images, captions))
        model.fit(dataset.batch(32).map(preprocessor))
    """

    def __init__(
        self,
        tokenizer,
        image_converter,
        max_length=64,
        length_buckets=(),
        texts_end_with_eos=False,
    ):
        super().__init__(name="image_text_preprocessor")
        if not isinstance(max_length, int) or max_length < 2:
            raise InvalidInputError(f"max_length={max_length!r} must be an integer of 2 or more")
        buckets = sorted(set(length_buckets))
        if buckets and not (buckets[0] >= 1 and buckets[-1] <= max_length):
            raise InvalidInputError(
                f"length_buckets={buckets} must lie between 1 and max_length={max_length}"
            )
        self.tokenizer = tokenizer
        self.image_converter = image_converter
        self.max_length = max_length
        self.length_buckets = tuple(buckets)
        self.texts_end_with_eos = texts_end_with_eos

    def __call__(self, x, y=None, sample_weight=None):
        """Returns `({"images", "token_ids"[, "source_ids"]}, targets, weights)` of a raw batch.

        Args:
            x: `{"images", "texts"[, "source_ids"]}`, or `(images, texts)`, or the images alone
                with the texts in `y`. Images as in `convert_images`. Texts (B,), or several for
                an image, (B, K) or ragged, of which the first is taken.
            y: the texts, if `x` holds the images alone.
            sample_weight: (B,) weights of the captions.
        """
        batch = _raw_batch(x, y)
        token_ids, targets, weights = self.captioning_pair(batch["texts"])
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, tf.float32)[:, tf.newaxis]
        features = {"images": self.convert_images(batch["images"]), "token_ids": token_ids}
        if "source_ids" in batch:
            features["source_ids"] = tf.convert_to_tensor(batch["source_ids"])
        return features, targets, weights

    def convert_images(self, images):
        """Returns normalised images (B, H, W, 3) float32.

        Args:
            images: encoded strings (B,), pixels (B, h, w, 3) in 0..255, or a list of pictures
                (h, w, 3) of different sizes.
        """
        if isinstance(images, (list, tuple)) and getattr(images[0], "ndim", 0) == 3:
            return tf.stack([self.image_converter(image) for image in images])
        images = tf.convert_to_tensor(images)
        if images.dtype == tf.string:
            return self.image_converter.decode(images)
        if images.shape.rank != 4:
            raise InvalidInputError(
                f"images have shape {tuple(images.shape)}; give a batch (B, h, w, 3), "
                "for one picture images[None]"
            )
        return self.image_converter(images)

    def check_texts(self, texts):
        """Raises `InvalidInputError` for an empty text, and warns of one that will be cut.

        Args:
            texts: list of Python strings.
        """
        _refuse_empty(texts)
        self._warn_of_cuts(self.tokenizer.tokenize(texts).row_lengths().numpy())

    def token_ids(self, texts):
        """Returns the inputs of texts, cut and right padded, (B, L) int32.

        Args:
            texts: strings (B,), (B, K) or ragged. Python strings are checked by `check_texts`.
        """
        tokens = self._tokenize(texts)
        return self._inputs(tokens, self._width(self._num_inputs(tokens)))

    def captioning_pair(self, texts):
        """Returns inputs (B, L) int32, targets (B, L) int32 and weights (B, L) float32.

        Args:
            texts: strings (B,), (B, K) or ragged. Python strings are checked by `check_texts`.
        """
        tokens = self._tokenize(texts)
        num_inputs = self._num_inputs(tokens)
        width = self._width(num_inputs)
        inputs = self._inputs(tokens, width)
        if self.texts_end_with_eos:
            num_targets = num_inputs - 1
            padding = self.tokenizer.pad_token_id
            targets = tf.pad(inputs[:, 1:], [[0, 0], [0, 1]], constant_values=padding)
        else:
            num_targets = num_inputs
            targets = self._with_eos(self._dense(tokens, width), tokens.row_lengths())
        return inputs, targets, tf.sequence_mask(num_targets, width, tf.float32)

    def trim(self, x, y, sample_weight):
        """Returns a tokenised batch with L cut to the bucket of its longest row.

        Args:
            x: `{"token_ids": (B, L), ...}`.
            y: targets (B, L).
            sample_weight: (B, L).
        """
        # The pad id may also be a token of the text, so real ones are not counted.
        is_real = (x["token_ids"] != self.tokenizer.pad_token_id) | (sample_weight > 0)
        places = tf.range(1, tf.shape(is_real)[1] + 1)
        length = self._bucket(tf.reduce_max(tf.where(is_real, places, 0)))
        trimmed = {**x, "token_ids": x["token_ids"][:, :length]}
        return trimmed, y[:, :length], sample_weight[:, :length]

    def generate_preprocess(self, prompts):
        """Returns `[BOS, prompt]` (B, P) int32 and which of it is real, (B, P) bool.

        Args:
            prompts: strings (B,) or one Python string; "" gives BOS alone.
        """
        tokens = self.tokenizer.tokenize(_first_texts(prompts))
        if _python_texts(prompts) is not None:
            self._warn_of_cuts(tokens.row_lengths().numpy(), ending=0)
        lengths = tf.minimum(tokens.row_lengths() + 1, self.max_length)
        longest = tf.cast(tf.maximum(tf.reduce_max(lengths), 1), tf.int32)
        return self._with_bos(tokens, longest), tf.sequence_mask(lengths, longest)

    def generate_postprocess(self, token_ids):
        """Returns the texts of generated ids (B, T) as a list of Python strings."""
        texts = self.tokenizer.detokenize(token_ids).numpy()
        return [text.decode("utf-8", errors="replace").strip() for text in texts]

    def save_assets(self, directory):
        """Writes what `get_config(include_assets=False)` leaves out into a preset's directory."""
        self.tokenizer.save_assets(os.path.join(directory, TOKENIZER_DIRECTORY))

    @classmethod
    def from_directory(cls, config, directory):
        """Returns the preprocessor of a config without assets and of the directory with them."""
        config = dict(config)
        # Presets of the time when there was one tokenizer do not name it.
        kind = config.pop("tokenizer_class", SentencePieceTokenizer.__name__)
        if kind not in _TOKENIZERS:
            raise InvalidInputError(
                f"{str(directory)!r} needs the tokenizer {kind!r}; this version has "
                f"{' and '.join(_TOKENIZERS)}"
            )
        path = os.path.join(directory, TOKENIZER_DIRECTORY)
        return cls.from_config({**config, "tokenizer": _TOKENIZERS[kind].from_assets(path)})

    def get_config(self, include_assets=True):
        """Returns the constructor's arguments; without assets, `from_directory` completes them."""
        if include_assets:
            tokenizer = {"tokenizer": keras.saving.serialize_keras_object(self.tokenizer)}
        else:
            tokenizer = {"tokenizer_class": type(self.tokenizer).__name__}
        return {
            **tokenizer,
            "image_converter": keras.saving.serialize_keras_object(self.image_converter),
            "max_length": self.max_length,
            "length_buckets": list(self.length_buckets),
            "texts_end_with_eos": self.texts_end_with_eos,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("tokenizer", "image_converter"):
            if isinstance(config[name], dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)

    def _tokenize(self, texts):
        python_texts = _python_texts(texts)
        if python_texts is not None:
            _refuse_empty(python_texts)
        tokens = self.tokenizer.tokenize(_first_texts(texts))
        if python_texts is not None:
            self._warn_of_cuts(tokens.row_lengths().numpy())
        return tokens

    # Rows are filled out before their ends are put in: joined as ragged tensors they would take
    # gathers and assertions.

    def _num_inputs(self, tokens):
        """Returns how many inputs there are of each text, (B,)."""
        return tf.minimum(tokens.row_lengths() + 1 + self.texts_end_with_eos, self.max_length)

    def _width(self, lengths):
        return self._bucket(tf.cast(tf.reduce_max(lengths), tf.int32))

    def _inputs(self, tokens, width):
        """Returns `[BOS, t1..tn]`, or `[BOS, t1..tn, EOS]`, cut and padded, (B, width)."""
        rows = self._with_bos(tokens, width)
        if self.texts_end_with_eos:
            rows = self._with_eos(rows, self._num_inputs(tokens) - 1)
        return rows

    def _with_bos(self, tokens, width):
        rows = self._dense(tokens, width - 1)
        begin = tf.fill([tf.shape(rows)[0], 1], self.tokenizer.bos_token_id)
        return tf.concat([begin, rows], axis=1)

    def _with_eos(self, rows, places):
        is_end = tf.range(tf.shape(rows, tf.int64)[1]) == places[:, tf.newaxis]
        return tf.where(is_end, self.tokenizer.eos_token_id, rows)

    def _dense(self, tokens, width):
        shape = (None, width) if isinstance(width, int) else tf.stack([-1, width])
        return tokens.to_tensor(self.tokenizer.pad_token_id, shape=shape)

    def _bucket(self, longest):
        """Returns the smallest row length that holds `longest` tokens."""
        if not self.length_buckets:
            return self.max_length
        buckets = tf.constant([*self.length_buckets, self.max_length])
        return tf.reduce_min(tf.where(buckets >= longest, buckets, self.max_length))

    def _warn_of_cuts(self, token_counts, ending=None):
        ending = self.texts_end_with_eos if ending is None else ending
        limit = self.max_length - 1 - ending  # BOS takes one place, and so may EOS
        long = [index for index, count in enumerate(token_counts) if count > limit]
        if long:
            others = f", as are {len(long) - 1} more" if len(long) > 1 else ""
            warnings.warn(
                f"text {long[0]} has {token_counts[long[0]]} tokens and is cut to {limit} "
                f"(max_length={self.max_length} with BOS){others}; shorten it or raise max_length",
                stacklevel=3,
            )


def _raw_batch(x, y):
    """Returns `{"images", "texts"[, "source_ids"]}` of the forms a dataset can yield."""
    if y is not None:
        if isinstance(x, dict):
            raise InvalidInputError(
                "a raw batch with keys came with separate targets; they are made from its texts, "
                "so give the batch alone"
            )
        return {"images": x, "texts": y}
    if isinstance(x, (tuple, list)) and len(x) == 2:
        return {"images": x[0], "texts": x[1]}
    if not isinstance(x, dict):
        raise InvalidInputError(
            f"a raw batch is (images, texts) or a dictionary with them, not {type(x).__name__}"
        )
    if not {"images", "texts"} <= set(x) <= _RAW_KEYS:
        raise InvalidInputError(
            f"a raw batch has the keys {', '.join(sorted(x))}; it needs images and texts, "
            "and may have source_ids"
        )
    return x


def _python_texts(texts):
    """Returns the texts as a list if they are Python or NumPy strings at hand, else None."""
    if not tf.executing_eagerly():
        return None
    if isinstance(texts, (str, bytes)):
        return [texts]
    if isinstance(texts, np.ndarray):
        texts = texts.tolist()
    if isinstance(texts, (list, tuple)) and all(isinstance(t, (str, bytes)) for t in texts):
        return list(texts)
    return None


def _refuse_empty(texts):
    for index, text in enumerate(texts):
        if not text.strip():
            raise InvalidInputError(
                f"text {index} is empty; give it words, or leave it and its image out"
            )


def _first_texts(texts):
    """Returns (B,) strings: of several texts for an image the first, "" if there is none.

    Python strings stay such, as a tokenizer may clean them more thoroughly than a tensor's.
    """
    if isinstance(texts, np.ndarray):
        texts = texts.tolist()
    if isinstance(texts, (str, bytes)):
        return [texts]
    if isinstance(texts, (list, tuple)):
        firsts = [
            next(iter(text), "") if isinstance(text, (list, tuple)) else text for text in texts
        ]
        if all(isinstance(text, (str, bytes)) for text in firsts):
            return firsts
    if isinstance(texts, tf.RaggedTensor):
        return texts[:, :1].to_tensor("", shape=(None, 1))[:, 0]
    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank == 2:
        return texts[:, 0]
    return tf.reshape(texts, [-1])
