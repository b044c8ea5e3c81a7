"""Small models and batches that many tests share.

B batch, L tokens, V vocabulary.
"""

import numpy as np

VOCABULARY_SIZE = 40
MAX_LENGTH = 10
PAD, BOS, EOS = 0, 2, 3


def tiny_coca(seed=0, **overrides):
    """A CoCa of some 30 thousand parameters, all moved off their initial values."""
    import keras

    from official_coca.models.coca import CoCa

    keras.utils.set_random_seed(seed)
    arguments = {
        "vocabulary_size": VOCABULARY_SIZE,
        "image_size": (8, 12),
        "patch_size": 4,
        "image_num_layers": 2,
        "image_hidden_dim": 24,
        "image_num_heads": 3,
        "image_mlp_dim": 32,
        "num_queries": 5,
        "unimodal_num_layers": 2,
        "multimodal_num_layers": 2,
        "text_hidden_dim": 16,
        "text_num_heads": 2,
        "text_mlp_dim": 32,
        "max_length": MAX_LENGTH,
    }
    model = CoCa(**{**arguments, **overrides})
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight is not model.log_temperature:
            noise = rng.normal(size=weight.shape, scale=0.1)
            weight.assign(np.asarray(weight) + noise.astype("float32"))
    return model


def random_images(batch_size, height=8, width=12, seed=0):
    """(B, height, width, 3) float32, as a preprocessor leaves them."""
    return np.random.default_rng(seed).normal(size=(batch_size, height, width, 3)).astype("float32")


def random_captions(lengths, width=MAX_LENGTH, seed=0):
    """(B, L) int32: BOS, then tokens up to each length, then padding."""
    rng = np.random.default_rng(seed)
    token_ids = rng.integers(EOS + 1, VOCABULARY_SIZE, size=(len(lengths), width))
    token_ids[:, 0] = BOS
    token_ids[np.arange(width)[None, :] >= np.asarray(lengths)[:, None]] = PAD
    return token_ids.astype("int32")


def training_batch(lengths, seed=0, width=MAX_LENGTH):
    """`(x, targets, weights)` of images and captions of the given lengths."""
    token_ids = random_captions(lengths, width, seed)
    targets = np.concatenate([token_ids[:, 1:], np.zeros((len(lengths), 1), "int32")], axis=1)
    last = np.asarray(lengths) - 1
    targets[np.arange(len(lengths)), last] = EOS
    x = {"images": random_images(len(lengths), seed=seed), "token_ids": token_ids}
    return x, targets.astype("int32"), (targets != PAD).astype("float32")


WORDS = "a the red blue green three seven cat dog photo of left right above".split()


def tiny_preprocessor(image_size=(8, 12), max_length=MAX_LENGTH):
    """An `ImageTextPreprocessor` whose vocabulary, of 36 pieces, spells `WORDS`."""
    import io
    import itertools

    import sentencepiece

    from official_coca.preprocessing.image import ImageConverter
    from official_coca.preprocessing.preprocessor import ImageTextPreprocessor
    from official_coca.preprocessing.tokenizer import SentencePieceTokenizer

    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(words) for words in itertools.permutations(WORDS, 2)),
        model_writer=proto,
        vocab_size=36,
        pad_id=PAD,
        unk_id=1,
        bos_id=BOS,
        eos_id=EOS,
        minloglevel=2,
    )
    return ImageTextPreprocessor(
        SentencePieceTokenizer(proto.getvalue()), ImageConverter(image_size), max_length
    )


def encoded_images(batch_size, height=10, width=15, seed=0):
    """B PNG files of random pixels."""
    import tensorflow as tf

    pixels = np.random.default_rng(seed).integers(0, 256, size=(batch_size, height, width, 3))
    return [tf.io.encode_png(image).numpy() for image in pixels.astype("uint8")]
