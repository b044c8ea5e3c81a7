"""Checks of the options that samplers have in common."""

from official_coca.errors import InvalidInputError


def is_number(value):
    """Whether `value` is a Python number; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def require_count(name, value):
    """Raises `InvalidInputError` unless `value` is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name}={value!r} of the sampler is not a whole number above 0")


def require_temperature(value):
    """Raises `InvalidInputError` unless `value` is a number above 0."""
    if not is_number(value) or not value > 0:
        raise InvalidInputError(
            f"temperature={value!r} is not above 0; use sampler='greedy' for no randomness"
        )


def require_seed(value):
    """Raises `InvalidInputError` unless `value` is a whole number or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidInputError(f"seed={value!r} of the sampler is neither a whole number nor None")
