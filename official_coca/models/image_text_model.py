"""The one training step that every image-text family shares.

Shapes: B examples of a replica, L tokens.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.layers.shared_graph import separate_graphs
from official_coca.losses import cross_replica
from official_coca.models import raw_data
from official_coca.models.measurements import Trackers


class ImageTextModel(keras.Model):
    """A Keras model whose losses come from images and texts together.

    A family implements `compute_losses`; training, evaluation, metrics (also by source of the
    data mixture), mixed precision and `tf.distribute` are here.

    Batches are Keras triples: `x = {"images", "token_ids"[, "source_ids"]}`, `y` the tokens to
    come (B, L) and `sample_weight` (B, L), 0 on padding. With a preprocessor attached, `fit`,
    `evaluate` and `predict` also take raw images and strings; see `models/raw_data.py`.
    """

    # Names of what `compute_losses` measures, each loss among them, in the order of the logs.
    measurement_names = ()

    def __init__(self, preprocessor=None, **kwargs):
        super().__init__(**kwargs)
        self.preprocessor = preprocessor
        self._trackers = Trackers()

    # === What a family implements ===

    def compute_losses(self, x, targets, weights, training=False, real_tokens_only=True):
        """Losses and measurements of a batch, from one forward pass.

        Args:
            x: dict with "images" (B, H, W, 3) and "token_ids" (B, L).
            targets: (B, L) int, the tokens to come.
            weights: (B, L) float, 0 on padding.
            training: whether this is a training step.
            real_tokens_only: whether to leave padding out of the vocabulary projection. Needs
                shapes that depend on data, which XLA does not allow; the result is the same.

        Returns:
            `(losses, measurements)`: name → scalar whose mean over the replicas is the loss of
            the global batch, and name → `Measurement`, one for each of `measurement_names`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its losses are made")

    def loss_weights(self):
        """Name of each loss → its weight in the total."""
        raise NotImplementedError(f"{type(self).__name__} does not weigh its losses")

    def logged_scalars(self):
        """Name → scalar of the model's state to show in the logs, as its mean over the epoch."""
        return {}

    # === Keras training interface ===

    def compile(
        self,
        optimizer="adam",
        source_names=(),
        jit_compile="auto",
        run_eagerly=False,
        steps_per_execution=1,
        **unsupported,
    ):
        """Prepares `fit` and `evaluate`.

        Args:
            optimizer: a Keras optimizer or its name.
            source_names: names of the sources of a data mixture, in the order of `source_ids`;
                each gets metrics of its own, "NAME/contrastive_loss" and so on.
            jit_compile: True, False or "auto": XLA on accelerators, off on CPU (where the first
                step takes longer and wide models gain nothing) and under strategies of several
                replicas (where TensorFlow refuses it).
            run_eagerly: for debugging.
            steps_per_execution: batches that one call of the compiled function runs.
            **unsupported: anything else raises; losses and metrics belong to the model.

        Raises:
            InvalidInputError: on `loss=` or `metrics=` and other arguments it would not honour.
        """
        if unsupported:
            raise InvalidInputError(
                f"compile() does not take {', '.join(sorted(unsupported))}: the losses and metrics "
                f"of {type(self).__name__} are its own; set loss weights in the constructor"
            )
        super().compile(
            optimizer=optimizer,
            jit_compile=_resolve_jit_compile(jit_compile),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        # XLA cannot make the optimizer's variables inside the step, and nothing else is waited for.
        self.optimizer.build(self.trainable_variables)
        self._trackers = Trackers(
            self.measurement_names, self.logged_scalars().keys(), source_names
        )

    def get_compile_config(self):
        if not self.compiled:
            return None
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "source_names": list(self._trackers.source_names),
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        config = dict(config)
        optimizer = keras.saving.deserialize_keras_object(config.pop("optimizer"))
        self.compile(optimizer=optimizer, **config)

    @property
    def metrics(self):
        return list(self._trackers.means.values()) if self.compiled else []

    def fit(self, x=None, y=None, batch_size=None, epochs=1, *, validation_data=None, **kwargs):
        """As `keras.Model.fit`; also takes raw images and strings (see the class)."""
        x, y, batch_size = raw_data.prepare(
            self.preprocessor, x, y, batch_size, shuffle=kwargs.get("shuffle", True)
        )
        if validation_data is not None:
            validation_data = raw_data.prepare_validation(
                self.preprocessor, validation_data, batch_size
            )
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            validation_data=validation_data,
            **kwargs,
        )

    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """As `keras.Model.evaluate`; also takes raw images and strings."""
        x, y, batch_size = raw_data.prepare(self.preprocessor, x, y, batch_size)
        return super().evaluate(x, y, batch_size=batch_size, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """As `keras.Model.predict`; also takes raw images and strings."""
        x, _, batch_size = raw_data.prepare(self.preprocessor, x, None, batch_size)
        return super().predict(x, batch_size=batch_size, **kwargs)

    def train_step(self, data):
        import tensorflow as tf

        # Nothing of a step may run before its batch has arrived: when a dataset of unknown length
        # ends, Keras would otherwise still count a step and decay the weights once more.
        with tf.control_dependencies(_tensors(data)):
            with tf.GradientTape() as tape:
                loss, measurements, scalars, x = self._forward(data, training=True)
                scaled_loss = self.optimizer.scale_loss(loss)
            variables = self.trainable_variables
            gradients = tape.gradient(scaled_loss, variables)
            self.optimizer.apply(self._gradients_for_optimizer(gradients), variables)
            return self._update_trackers(loss, measurements, scalars, x)

    def test_step(self, data):
        import tensorflow as tf

        with tf.control_dependencies(_tensors(data)):
            loss, measurements, scalars, x = self._forward(data, training=False)
            return self._update_trackers(loss, measurements, scalars, x)

    def predict_step(self, *arguments):  # with JAX the state comes before the data
        with separate_graphs(self.jit_compile):
            return super().predict_step(*arguments)

    def _forward(self, data, training):
        x, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        if targets is None:
            raise InvalidInputError(
                f"{type(self).__name__} trains on (x, targets, weights) batches and got no "
                "targets; attach a preprocessor, or pass what ImageTextPreprocessor returns"
            )
        if weights is None:
            weights = ops.cast(targets != self.pad_token_id, "float32")
        with separate_graphs(self.jit_compile):
            losses, measurements = self.compute_losses(
                x, targets, weights, training=training, real_tokens_only=not self.jit_compile
            )
        loss_weights = self.loss_weights()
        loss = sum(loss_weights[name] * value for name, value in losses.items())
        # Read here, before the optimizer moves what they are made of.
        return loss, measurements, self.logged_scalars(), x

    def _gradients_for_optimizer(self, gradients):
        """Gradients of the global mean loss, in the form that a Keras optimizer expects.

        A Keras optimizer sums gradients over the replicas, after clipping those of each replica
        by itself. So with clipping the mean is taken, and clipped, before it gets them.
        """
        import tensorflow as tf

        # The gradient of an embedding table comes as rows, the same token's several times over;
        # a norm for clipping would take them for different ones.
        gradients = [
            None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients
        ]
        replicas = cross_replica.num_replicas()
        if replicas == 1:
            return gradients
        optimizer = self.optimizer
        if any((optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)):
            present = [gradient for gradient in gradients if gradient is not None]
            clipped = iter(optimizer._clip_gradients(cross_replica.global_mean(present)))
            gradients = [None if gradient is None else next(clipped) for gradient in gradients]
        return [None if gradient is None else gradient / replicas for gradient in gradients]

    def _update_trackers(self, loss, measurements, scalars, x):
        self._trackers.update(
            loss,
            ops.shape(x["images"])[0],
            measurements,
            scalars,
            x.get("source_ids"),
        )
        return self._trackers.results()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: the constructor builds the model and `compile` the optimizer.

        Under a strategy Keras would average the first batch over the replicas to learn its shape,
        which fails on strings and on uneven batches.
        """


def _tensors(data):
    """The tensors of a batch, whose targets and weights may be None."""
    return [leaf for leaf in keras.tree.flatten(data) if leaf is not None]


def _resolve_jit_compile(jit_compile):
    if jit_compile != "auto" or keras.backend.backend() != "tensorflow":
        return jit_compile
    import tensorflow as tf

    has_accelerator = bool(tf.config.list_physical_devices("GPU"))
    return "auto" if has_accelerator and not tf.distribute.has_strategy() else False
