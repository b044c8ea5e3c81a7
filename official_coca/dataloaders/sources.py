"""What a training or evaluation source is: a name, its shards, and how its text is meant."""

import dataclasses

import tensorflow as tf

from official_coca.errors import InvalidInputError

KINDS = ("labels", "captions")


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of image-text examples.

    Attributes:
        name: short name, used in metrics and messages.
        pattern: glob of its TFRecord shards, such as `"shards/scenes-train-*.tfrecord"`.
        kind: `"labels"` when the texts of an example are label names, which become a sentence
            through a template, or `"captions"` when each text is a caption.
        share: its share of each batch, a fraction or a weight beside those of other sources.
        templates: sentences with one `{}` for the label names; read for `"labels"` only.
    """

    name: str
    pattern: str
    kind: str
    share: int | float = 1.0
    templates: tuple[str, ...] = ("a photo of the {}",)

    def __post_init__(self):
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.name:
            raise InvalidInputError(f"the source of {self.pattern!r} has no name; give it one")
        if self.kind not in KINDS:
            raise InvalidInputError(
                f"source {self.name!r} is of unknown kind {self.kind!r}; use one of {KINDS}"
            )
        if not self.share > 0:
            raise InvalidInputError(
                f"source {self.name!r} has share {self.share!r}; give a positive number, or leave "
                "the source out"
            )
        if self.kind == "labels":
            self._check_templates()

    def _check_templates(self):
        if not self.templates:
            raise InvalidInputError(
                f"source {self.name!r} has no prompt template; give at least one, such as 'a {{}}'"
            )
        for template in self.templates:
            if template.count("{}") != 1:
                raise InvalidInputError(
                    f"the template {template!r} of source {self.name!r} must contain {{}} once"
                )

    def files(self):
        """Returns the sorted paths of the shards."""
        files = sorted(tf.io.gfile.glob(self.pattern)) if self.pattern else []
        if not files:
            raise InvalidInputError(
                f"no shard of source {self.name!r} matches {self.pattern!r}; make shards with "
                "data/make_digits.py or data/make_shards.py, or correct the pattern"
            )
        return files
