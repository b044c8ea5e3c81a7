"""The SavedModel can be loaded, trained and put into other models without this package."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official_coca.serving.saved_model import export_saved_model
from tests.tiny_models import encoded_images, random_captions, random_images

WITHOUT_KERAS = """
import importlib.util, os, sys
sys.modules["keras"] = sys.modules["tf_keras"] = None  # importing TensorFlow would import Keras
import tensorflow as tf
{text_operations}
model = tf.saved_model.load({directory!r})
assert not any(name.startswith(("keras.", "tf_keras.", "official_coca")) for name in sys.modules)
images = tf.random.normal((2, 8, 12, 3))
print(model(images).shape, model.encode_image_tensor(images)["image_embedding"].shape,
      len(model.variables), len(model.trainable_variables), len(model.regularization_losses))
"""
# tensorflow_text itself imports Keras; its operations do not.
TEXT_OPERATIONS = """
package = os.path.dirname(importlib.util.find_spec("tensorflow_text").origin)
tf.load_op_library(os.path.join(package, "python", "ops", "_sentencepiece_tokenizer.so"))
"""


def run_alone(code, cwd):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_process_without_keras_and_this_package_can_use_it(model, directory):
    code = WITHOUT_KERAS + """
for name in ("encode_image", "encode_text", "generate"):
    assert callable(getattr(model, name)), name
print(model.encode_text(tf.constant(["a cat"]))["text_embedding"].shape)
"""
    code = code.format(text_operations=TEXT_OPERATIONS, directory=str(directory / "1"))
    sizes = f"{len(model.weights)} {len(model.trainable_weights)} 0"
    assert run_alone(code, directory) == f"(2, 16) (2, 16) {sizes}\n(1, 16)"


def test_export_without_texts_needs_no_operations_for_them(model, tmp_path):
    names = ["encode_image", "encode_image_tensor", "encode_token_ids", "generate_token_ids"]
    version = export_saved_model(model, tmp_path, names)
    code = WITHOUT_KERAS.format(text_operations="", directory=str(version))
    sizes = f"{len(model.weights)} {len(model.trainable_weights)} 0"
    assert run_alone(code, tmp_path) == f"(2, 16) (2, 16) {sizes}"


def test_variables_are_the_models_and_stored_once(model, directory, served):
    for ours, theirs in zip(model.weights, served.variables, strict=True):
        np.testing.assert_array_equal(ours.value, theirs)
        assert theirs.name == f"{ours.path}:0"
    reader = tf.train.load_checkpoint(str(directory / "1" / "variables" / "variables"))
    stored = [n for n in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in n]
    assert len(stored) == len(model.weights)


def test_one_step_of_training_lowers_a_loss(directory):
    model = tf.saved_model.load(str(directory / "1"))
    images, token_ids = random_images(4), random_captions([4, 5, 6, 7])
    for embed in (
        lambda: model(tf.constant(images), training=True),
        lambda: model.encode_image_tensor(tf.constant(images))["image_embedding"],
        lambda: model.encode_token_ids(tf.constant(token_ids))["text_embedding"],
    ):

        def loss(embed=embed):
            return tf.reduce_mean(tf.square(embed() - 0.25))

        with tf.GradientTape() as tape:
            before = loss()
        gradients = tape.gradient(before, model.trainable_variables)
        assert any(gradient is not None for gradient in gradients)
        for variable, gradient in zip(model.trainable_variables, gradients):
            if gradient is not None:
                variable.assign_sub(0.05 * tf.convert_to_tensor(gradient))
        assert loss() < before


@pytest.mark.parametrize("name", ["encode_image_tensor", "encode_text", "score", "classify"])
def test_gradients_are_the_same_by_a_persistent_tape_and_in_a_function_after_eager_ones(
    directory, name
):
    model = tf.saved_model.load(str(directory / "1"))
    files, texts = tf.constant(encoded_images(2)), tf.constant(["cat", "a red dog"])
    call = {
        "encode_image_tensor": lambda: model.encode_image_tensor(random_images(2)),
        "encode_text": lambda: model.encode_text(texts),
        "score": lambda: model.score(files, texts),
        "classify": lambda: model.classify(files, texts, tf.constant(["a photo of a {}"])),
    }[name]

    def gradients(persistent=False):
        with tf.GradientTape(persistent=persistent) as tape:
            first = next(output for output in call().values() if output.dtype == tf.float32)
            total = tf.reduce_sum(first[:, 0])
        found = tape.gradient(total, model.trainable_variables)
        return [tf.convert_to_tensor(one) for one in found if one is not None]

    eager = gradients()
    assert any(np.any(gradient) for gradient in eager)
    for again in (gradients(persistent=True), tf.function(gradients)()):
        for one, other in zip(eager, again, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_it_is_a_layer_of_a_keras_model(model, directory):
    import keras

    layer = keras.layers.TFSMLayer(str(directory / "1"), call_endpoint="encode_image_tensor")
    inputs = keras.Input((8, 12, 3))
    outputs = keras.layers.Dense(2, use_bias=False)(layer(inputs)["image_embedding"])
    images = random_images(3)
    predicted = keras.Model(inputs, outputs).predict(images, verbose=0)
    assert predicted.shape == (3, 2)
    np.testing.assert_allclose(
        layer(images)["image_embedding"], model.encode_image(images), atol=1e-5
    )


def test_it_is_a_trainable_layer_of_a_tf_keras_model_that_can_be_saved(
    model, directory, tmp_path
):
    code = f"""
import numpy as np, tensorflow as tf, tensorflow_text, tensorflow_hub as hub, tf_keras
layer = hub.KerasLayer({str(directory / "1")!r}, trainable=True)
network = tf_keras.Sequential([tf_keras.Input((8, 12, 3)), layer, tf_keras.layers.Dense(1)])
network.compile("sgd", "mse")
images = np.random.default_rng(0).normal(size=(4, 8, 12, 3)).astype("float32")
before = layer.get_weights()
network.fit(images, np.ones((4, 1)), epochs=1, verbose=0)
changed = sum(not np.array_equal(a, b) for a, b in zip(before, layer.get_weights()))
outputs = network.predict(images, verbose=0)
for name in ("network.h5", "network.keras", "network"):  # HDF5 knows weights by their names
    network.save({str(tmp_path)!r} + "/" + name)
    again = tf_keras.models.load_model(
        {str(tmp_path)!r} + "/" + name, custom_objects={{"KerasLayer": hub.KerasLayer}}
    )
    assert np.allclose(again.predict(images, verbose=0), outputs, atol=1e-6), name
print(len(layer.trainable_weights), changed > 0)
"""
    assert run_alone(code, directory) == f"{len(model.trainable_weights)} True"


def test_text_pair_embeds_as_the_model_does(model, directory):
    code = f"""
import tensorflow as tf, tensorflow_text, tensorflow_hub as hub, tf_keras
texts = tf_keras.Input((), dtype=tf.string)
tokens = hub.KerasLayer({str(directory / "text_preprocessor" / "1")!r})(texts)
outputs = hub.KerasLayer({str(directory / "text_encoder" / "1")!r}, trainable=True)(tokens)
network = tf_keras.Model(texts, outputs["pooled_output"])
print(network(tf.constant(["a red cat", "the dog"])).numpy().tolist())
"""
    embeddings = np.array(eval(run_alone(code, directory)))
    np.testing.assert_allclose(embeddings, model.encode_text(["a red cat", "the dog"]), atol=1e-5)
