"""Configuration dataclasses whose keys, types and values are checked.

Model Garden's `hyperparams.Config` refuses unknown keys in most places but accepts any type of
value, and unknown keys in the elements of a list. `StrictConfig` refuses all of these with one
line that names the key, the value and what was expected.
"""

import dataclasses
import difflib
import types
import typing

from official.modeling import hyperparams

from official_coca.errors import InvalidInputError


def choice(default, choices):
    """A field whose value must be one of `choices`."""
    return dataclasses.field(default=default, metadata={"choices": tuple(choices)})


def number(default, *, minimum=None, maximum=None):
    """A field whose value must lie between `minimum` and `maximum`, both included."""
    return dataclasses.field(
        default=default, metadata={"minimum": minimum, "maximum": maximum}
    )


@dataclasses.dataclass
class StrictConfig(hyperparams.Config):
    """A section of a configuration; a subclass is a dataclass that declares its keys."""

    def _override(self, override_dict, is_strict=True):
        # Model Garden calls this for every section of a YAML file; it is lenient
        # (is_strict=False) where it makes a new element of a list.
        known = [field.name for field in dataclasses.fields(self)]
        for key, value in override_dict.items():
            if key not in known:
                raise InvalidInputError(_unknown_key(type(self).__name__, key, value, known))
        super()._override(override_dict, is_strict)


@dataclasses.dataclass
class OpenConfig(hyperparams.Config):
    """A section whose keys are not declared here: whoever reads it checks them."""

    def _override(self, override_dict, is_strict=True):
        super()._override(override_dict, is_strict=False)


def check_types_and_values(config, path=""):
    """Raises `InvalidInputError` for the first key of `config` with a value it cannot have.

    Args:
        config: a `StrictConfig`.
        path: dotted path of `config` in the whole configuration, for the message.
    """
    annotations = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        key = f"{path}.{field.name}" if path else field.name
        value = getattr(config, field.name)
        annotation = annotations[field.name]
        if not _has_type(value, annotation):
            raise InvalidInputError(
                f"config key {key}={_shown(value)}: expected {_described(annotation)}"
            )
        _check_value(key, value, field.metadata)
        for name, section in _sections(key, value):
            check_types_and_values(section, name)


def _unknown_key(section, key, value, known):
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"unknown config key {key!r} in {section}, with the value {_shown(value)}{hint} "
        f"(known: {', '.join(known)})"
    )


def _sections(key, value):
    if isinstance(value, StrictConfig):
        yield key, value
    elif isinstance(value, (list, tuple)):
        for index, element in enumerate(value):
            if isinstance(element, StrictConfig):
                yield f"{key}[{index}]", element


def _check_value(key, value, metadata):
    choices = metadata.get("choices")
    if choices and value is not None and value not in choices:
        raise InvalidInputError(
            f"config key {key}={value!r}: choose one of {', '.join(map(str, choices))}"
        )
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if value is None:
        return
    if minimum is not None and value < minimum:
        raise InvalidInputError(f"config key {key}={value!r}: must be at least {minimum}")
    if maximum is not None and value > maximum:
        raise InvalidInputError(f"config key {key}={value!r}: must be at most {maximum}")


def _has_type(value, annotation):
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, (list, tuple)) and all(
            _has_type(element, arguments[0]) for element in value
        )
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _described(annotation):
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_described(argument) for argument in arguments)
    if origin is list:
        return f"a list of {_described(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, StrictConfig):
        known = ", ".join(field.name for field in dataclasses.fields(annotation))
        return f"a section with the keys {known}"
    if annotation is type(None):
        return "null"
    return "a number" if annotation is float else annotation.__name__


def _shown(value):
    if isinstance(value, hyperparams.ParamsDict):
        value = value.as_dict()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
