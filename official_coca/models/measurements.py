"""What a step measures, and the running averages that logs show.

Shapes: B examples of a replica, n values of a measurement.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from official_coca.errors import InvalidInputError


@dataclasses.dataclass
class Measurement:
    """Values to average in the logs: `values` and `weights` (n,), and the row of each value.

    `rows` (n,) says which example a value belongs to; None when there is one value per example.
    """

    values: Any
    weights: Any
    rows: Any = None


class Trackers:
    """Running means of the loss, of each measurement, and of each measurement by source.

    A plain object and not a Keras layer: it comes into being in `compile`, after the model is
    built, and is no part of its saved state.

    Args:
        measurement_names: in the order of the logs.
        scalar_names: of scalars that have no examples, such as a temperature.
        source_names: of the data mixture, in the order of `source_ids`.
    """

    def __init__(self, measurement_names=(), scalar_names=(), source_names=()):
        self.source_names = tuple(source_names)
        names = ["loss", *measurement_names, *scalar_names]
        for source_name in self.source_names:
            names += [f"{source_name}/{name}" for name in measurement_names]
        self.means = {name: keras.metrics.Mean(name=name) for name in names}

    def update(self, loss, batch_size, measurements, scalars, source_ids):
        """Takes in a step.

        Args:
            loss: scalar, the weighted total.
            batch_size: B.
            measurements: name → `Measurement`.
            scalars: name → scalar.
            source_ids: (B,) int, or None.

        Raises:
            InvalidInputError: sources are to be told apart but the batch does not say them.
        """
        self.means["loss"].update_state(loss, sample_weight=ops.cast(batch_size, "float32"))
        for name, value in scalars.items():
            self.means[name].update_state(value)
        for name, measurement in measurements.items():
            self.means[name].update_state(
                measurement.values, sample_weight=measurement.weights
            )
        if not self.source_names:
            return
        if source_ids is None:
            raise InvalidInputError(
                f"compile(source_names={self.source_names}) asks for metrics by source, but the "
                'batches have no "source_ids"'
            )
        for name, measurement in measurements.items():
            self._update_by_source(name, measurement, source_ids)

    def _update_by_source(self, name, measurement, source_ids):
        if measurement.rows is not None:
            source_ids = ops.take(source_ids, measurement.rows, axis=0)
        for index, source_name in enumerate(self.source_names):
            weights = measurement.weights * ops.cast(source_ids == index, "float32")
            self.means[f"{source_name}/{name}"].update_state(
                measurement.values, sample_weight=weights
            )

    def results(self):
        """Name → mean since the last reset."""
        return {name: mean.result() for name, mean in self.means.items()}
