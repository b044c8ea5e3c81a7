"""A model with CLIP's tokenizer through the whole exporter."""

import numpy as np
import tensorflow as tf

from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer
from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.preprocessor import ImageTextPreprocessor
from official_coca.serving.saved_model import export_saved_model
from tests.serving.conftest import LAYERS
from tests.tiny_models import encoded_images, tiny_coca

TEXTS = ["a photo of 2 dogs, isn't it?", "&lt;CAFÉ&gt;  ça", "犬と猫 🐶"]


def test_signatures_take_and_write_texts_as_python_does(tmp_path):
    tokenizer = CLIPTokenizer()
    model = tiny_coca(
        vocabulary_size=tokenizer.vocabulary_size,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        class_token_mask="open_clip",
        class_token_position=True,
        open_clip_decoding=True,
        max_length=24,
        **LAYERS,
    )
    model.preprocessor = ImageTextPreprocessor(
        tokenizer, ImageConverter(model.image_size), max_length=model.max_length
    )
    names = ["encode_text", "score", "caption"]
    version = export_saved_model(model, tmp_path, names, "greedy", 12)
    served = tf.saved_model.load(str(version))
    outputs = served.signatures["encode_text"](text=tf.constant(TEXTS))
    assert outputs["valid"].numpy().all()
    np.testing.assert_allclose(
        outputs["text_embedding"].numpy(), model.encode_text(TEXTS), atol=1e-5
    )
    images = encoded_images(3)
    captions = served.signatures["caption"](image_bytes=tf.constant(images))["caption"].numpy()
    assert [caption.decode() for caption in captions] == model.generate(images, max_length=12)
