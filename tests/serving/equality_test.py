"""Every signature answers as the Python model does."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.evaluation.zero_shot import embed_classes
from official_coca.serving.signatures import SIGNATURES
from tests.tiny_models import encoded_images, random_captions, random_images

IMAGES = encoded_images(3)
TEXTS = ["a red cat", "three", "the dog of the seven"]
PROMPTS = ["", "a", "the red"]
CAPTIONS = {"sampler": "beam", "num_beams": 3, "max_length": 8, "return_scores": True}


def call(served, name, **inputs):
    outputs = served.signatures[name](**{key: tf.constant(x) for key, x in inputs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


@pytest.mark.parametrize("name", ["serving_default", "encode_image"])
def test_image_embeddings(model, served, name):
    outputs = call(served, name, image_bytes=IMAGES)
    np.testing.assert_allclose(outputs["image_embedding"], model.encode_image(IMAGES), atol=1e-5)
    assert outputs["valid"].all()


def test_text_embeddings(model, served):
    outputs = call(served, "encode_text", text=TEXTS)
    np.testing.assert_allclose(outputs["text_embedding"], model.encode_text(TEXTS), atol=1e-5)


@pytest.mark.parametrize("templates", [["a photo of the {}", "{} right"], []])
def test_class_probabilities(model, served, templates):
    labels = ["cat", "dog", "seven"]
    outputs = call(
        served,
        "classify",
        image_bytes=IMAGES,
        labels=labels,
        templates=np.array(templates, dtype=object) if templates else tf.constant([], tf.string),
    )
    classes = embed_classes(model, labels, templates or ["{}"])
    logits = np.asarray(model.encode_image(IMAGES)) @ classes.T / float(model.temperature)
    expected = tf.nn.softmax(logits)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_similarities(model, served):
    outputs = call(served, "score", image_bytes=IMAGES, text=TEXTS[:2])
    expected = np.asarray(model.encode_image(IMAGES)) @ np.asarray(model.encode_text(TEXTS[:2])).T
    np.testing.assert_allclose(outputs["similarity"], expected, atol=1e-5)


def test_captions(model, served):
    expected, scores = model.generate(IMAGES, prompt=PROMPTS, **CAPTIONS)
    outputs = call(served, "generate", image_bytes=IMAGES, prompt=PROMPTS)
    assert [caption.decode() for caption in outputs["caption"]] == expected
    np.testing.assert_allclose(outputs["score"], scores, atol=1e-5)

    expected, scores = model.generate(IMAGES, **CAPTIONS)
    for outputs in (
        call(served, "caption", image_bytes=IMAGES),
        call(served, "generate", image_bytes=IMAGES, prompt=[""]),
        served.generate(tf.constant(IMAGES)),
    ):
        assert [caption.decode() for caption in np.asarray(outputs["caption"])] == expected
        np.testing.assert_allclose(outputs["score"], scores, atol=1e-5)


def test_tensors(model, served):
    images, token_ids = random_images(3), random_captions([3, 10, 6])
    np.testing.assert_allclose(
        call(served, "encode_image_tensor", images=images)["image_embedding"],
        model.encode_image(images),
        atol=1e-5,
    )
    for width in (10, 4):
        np.testing.assert_allclose(
            call(served, "encode_token_ids", token_ids=token_ids[:, :width])["text_embedding"],
            model.encode_text(token_ids[:, :width]),
            atol=1e-5,
        )
    outputs = call(served, "generate_token_ids", images=images)
    captions, scores = model.generate(images, **CAPTIONS)
    np.testing.assert_allclose(outputs["score"], scores, atol=1e-5)
    assert model.preprocessor.generate_postprocess(outputs["token_ids"]) == captions


def test_every_signature_has_the_inputs_and_outputs_of_the_table(served):
    assert set(served.signatures) == {"serving_default", *(s.name for s in SIGNATURES)}
    for signature in SIGNATURES:
        function = served.signatures[signature.name]
        _, inputs = function.structured_input_signature
        assert {key: spec.dtype for key, spec in inputs.items()} == {
            tensor.name: tensor.dtype for tensor in signature.inputs
        }
        outputs = function.structured_outputs
        for tensor in signature.outputs:
            assert outputs[tensor.name].dtype == tensor.dtype
            assert outputs[tensor.name].shape.rank == len(tensor.shape)
        assert len(outputs) == len(signature.outputs)


def test_every_signature_takes_an_empty_batch(served):
    for name, function in served.signatures.items():
        inputs = {
            key: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
            for key, spec in function.structured_input_signature[1].items()
        }
        for output in function(**inputs).values():
            assert output.shape[0] == 0, name
