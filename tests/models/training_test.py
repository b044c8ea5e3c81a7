"""The training step: metrics, mixed precision, XLA, replicas, odd datasets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.models.coca import CoCa
from tests.tiny_models import PAD, tiny_coca, training_batch


def _batches(*batches):
    """A dataset of batches that may differ in size."""
    spec = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0]
    )
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)


def _small_coca(**overrides):
    """One layer of each kind: tracing, not arithmetic, is what these tests spend their time on."""
    layers = {"image_num_layers": 1, "unimodal_num_layers": 1, "multimodal_num_layers": 1}
    return tiny_coca(**{**layers, **overrides})


def _weights(model):
    return [np.asarray(weight) for weight in model.trainable_variables]


def test_fit_and_evaluate_report_every_named_metric():
    model = _small_coca()
    model.compile("adam", source_names=("labels", "alt_text"))
    x, targets, weights = training_batch([4, 6, 8, 10])
    x["source_ids"] = np.array([0, 1, 1, 0], "int32")
    data = _batches((x, targets, weights)).repeat(2)
    names = {
        "contrastive_loss",
        "captioning_loss",
        "image_to_text_accuracy",
        "text_to_image_accuracy",
        "token_accuracy",
    }
    expected = {"loss", "temperature", *names}
    expected |= {f"{source}/{name}" for source in ("labels", "alt_text") for name in names}
    history = model.fit(data, steps_per_epoch=2, validation_data=data, verbose=0).history
    assert set(history) == expected | {f"val_{name}" for name in expected}
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert set(logs) == expected
    np.testing.assert_allclose(
        logs["loss"], logs["contrastive_loss"] + 2 * logs["captioning_loss"], rtol=1e-5
    )
    shares = weights.sum(1)[[0, 3]].sum() / weights.sum()
    by_source = shares * logs["labels/captioning_loss"]
    by_source += (1 - shares) * logs["alt_text/captioning_loss"]
    np.testing.assert_allclose(logs["captioning_loss"], by_source, rtol=1e-5)


def test_predict_returns_outputs_of_every_example():
    model = _small_coca()
    model.compile("adam")
    x, _, _ = training_batch([4, 6, 8])
    outputs = model.predict(x, batch_size=2, verbose=0)
    assert outputs["logits"].shape[0] == outputs["image_embedding"].shape[0] == 3


def test_overfits_eight_pairs_and_reproduces_their_captions():
    model = _small_coca(image_size=8, text_hidden_dim=32, seed=1)
    x, targets, weights = training_batch([4, 5, 6, 7, 8, 9, 10, 5])
    x["images"] = x["images"][:, :8, :8]
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=True)
    data = _batches((x, targets, weights)).repeat(150)
    logs = model.fit(data, steps_per_epoch=150, verbose=0).history
    assert logs["loss"][-1] < 4
    last = model.evaluate(_batches((x, targets, weights)), verbose=0, return_dict=True)
    assert last["image_to_text_accuracy"] == last["text_to_image_accuracy"] == 1
    written = model.generate(x["images"])
    np.testing.assert_array_equal(written[:, 1 : targets.shape[1] + 1], targets)


def test_unknown_cardinality_and_short_last_batch_take_one_step_a_batch():
    model = _small_coca()
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1))
    full, short = training_batch([4, 6, 8]), training_batch([5], seed=1)
    model.fit(_batches(full, short), epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 4

    by_hand = _small_coca()
    by_hand.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1))
    for x, targets, weights in (full, short, full, short):
        by_hand.train_on_batch(x, targets, weights)
    for left, right in zip(_weights(model), _weights(by_hand)):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_steps_per_execution_and_xla_change_nothing():
    batch = training_batch([4, 6, 8, 2])
    results = []
    for arguments in ({}, {"steps_per_execution": 3}, {"jit_compile": True}):
        model = _small_coca()
        model.compile(keras.optimizers.SGD(0.01, global_clipnorm=1.0), **arguments)
        model.fit(_batches(batch).repeat(6), steps_per_epoch=6, verbose=0)
        results.append(_weights(model))
    for other in results[1:]:
        for left, right in zip(results[0], other):
            np.testing.assert_allclose(left, right, atol=2e-5)


def test_mixed_bfloat16_trains_close_to_float32():
    batch = training_batch([4, 6, 8, 2])
    losses = {}
    for dtype in ("float32", "mixed_bfloat16"):
        model = _small_coca(dtype=dtype)
        assert all(weight.dtype == "float32" for weight in model.trainable_variables)
        model.compile(keras.optimizers.Adam(1e-3))
        outputs = model(batch[0])
        assert all(value.dtype == "float32" for value in outputs.values())
        data = _batches(batch).repeat(10)
        losses[dtype] = model.fit(data, steps_per_epoch=1, epochs=10, verbose=0).history["loss"]
    np.testing.assert_allclose(losses["float32"], losses["mixed_bfloat16"], rtol=0.03)
    assert losses["mixed_bfloat16"][-1] < losses["mixed_bfloat16"][0] - 0.5


@pytest.mark.parametrize("optimizer_arguments", [{}, {"global_clipnorm": 0.5}])
@pytest.mark.parametrize("positives", ["pair", "same_text"])
def test_two_replicas_equal_one(optimizer_arguments, positives):
    x, targets, weights = training_batch([2, 10, 8, 3, 9, 10, 4, 2])
    for array in (x["token_ids"], targets, weights):
        array[5] = array[1]
    data = tf.data.Dataset.from_tensor_slices((x, targets, weights)).batch(8)
    results = []
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for scope in (tf.distribute.get_strategy().scope(), strategy.scope()):
        with scope:
            model = _small_coca(positives=positives)
            model.compile(keras.optimizers.SGD(1.0, **optimizer_arguments))
        logs = model.fit(data, verbose=0).history
        results.append((_weights(model), {name: values[-1] for name, values in logs.items()}))
    (one, one_logs), (two, two_logs) = results
    assert one_logs.keys() == two_logs.keys()
    for name, value in one_logs.items():
        np.testing.assert_allclose(two_logs[name], value, rtol=1e-4, err_msg=name)
    for left, right in zip(one, two):
        np.testing.assert_allclose(left, right, atol=2e-5)


@pytest.mark.parametrize("pooler, jit_compile", [("cascade", True), ("shared", False)])
def test_recomputing_activations_changes_no_step(pooler, jit_compile):
    results = []
    for recompute_activations in (False, True):
        model = _small_coca(
            pooler=pooler,
            separate_cross_attention_mlp=pooler == "shared",
            normalize_context=pooler == "shared",
            recompute_activations=recompute_activations,
        )
        model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        logs = model.fit(_batches(training_batch([4, 6, 8, 2])), epochs=2, verbose=0).history
        results.append((*_weights(model), logs["loss"]))
        assert CoCa.from_config(model.get_config()).recompute_activations == recompute_activations
    for left, right in zip(*results):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_frozen_image_encoder_does_not_move():
    model = _small_coca()
    model.image_encoder.trainable = False
    model.compile(keras.optimizers.AdamW(1e-2))
    before = [np.asarray(weight) for weight in model.image_encoder.weights]
    model.train_on_batch(*training_batch([4, 6]))
    for old, weight in zip(before, model.image_encoder.weights):
        np.testing.assert_array_equal(old, weight)


def test_targets_without_weights_count_everything_but_padding():
    model = _small_coca()
    model.compile("sgd")
    x, targets, weights = training_batch([4, 6])
    with_weights = model.test_on_batch(x, targets, weights, return_dict=True)
    model.reset_metrics()
    assert (targets[weights == 0] == PAD).all()
    without = model.test_on_batch(x, targets, return_dict=True)
    np.testing.assert_allclose(with_weights["loss"], without["loss"], rtol=1e-6)


def test_compile_refuses_what_it_would_not_honour():
    with pytest.raises(InvalidInputError, match="does not take loss, metrics"):
        _small_coca().compile("adam", loss="mse", metrics=["mae"])


def test_fit_names_what_is_missing():
    model = _small_coca()
    model.compile("adam")
    x, _, _ = training_batch([4, 6])
    with pytest.raises(InvalidInputError, match="no targets"):
        model.fit(x, verbose=0)
    strings = tf.data.Dataset.from_tensors((x["images"], ["a cat", "a dog"]))
    with pytest.raises(InvalidInputError, match="no preprocessor"):
        model.fit(strings, verbose=0)
    model.compile("adam", source_names=("labels",))
    with pytest.raises(InvalidInputError, match='no "source_ids"'):
        model.train_on_batch(*training_batch([4, 6]))
