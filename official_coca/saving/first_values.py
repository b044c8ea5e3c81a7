"""Builds a model with weights that are at hand, without drawing random ones first."""

import keras


def build_and_fill(build, fill):
    """A model whose variables have the values given to them as their first ones.

    Drawing the weights of a large model, only to replace them, takes longer than reading them, and
    holds both in memory.

    Args:
        build: makes the model.
        fill: takes the model and assigns values to its variables. Variables that it leaves out are
            drawn by their initializers.

    Returns:
        The model.
    """
    # In a stateless scope Keras makes variables without a value and keeps what is assigned to them
    # with the scope; at its end it calls their initializers.
    with keras.StatelessScope() as scope:
        model = build()
        fill(model)
        for variable in model.weights:
            value = scope.get_current_value(variable)
            if value is not None:
                variable._initializer = lambda shape, dtype, value=value: value
    return model
