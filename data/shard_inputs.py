"""Reads rows of image and fields from what a person has: a folder or zip with an index, or TFDS."""

import csv
import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Callable

from official_coca.errors import InvalidInputError

INDEX_FORMATS = (".jsonl", ".tsv")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the input.

    Attributes:
        place: where it stands, for messages, such as `"row 3 of train.tsv"`.
        image_name: name of its image.
        fields: its fields by name.
        read_image: function without arguments that returns the encoded image; raises `OSError`
            when there is none.
    """

    place: str
    image_name: str
    fields: dict
    read_image: Callable[[], bytes]

    def field(self, name):
        """Returns a field, or raises `InvalidInputError` that names those there are."""
        if name not in self.fields or self.fields[name] is None:
            raise InvalidInputError(
                f"{self.place} has no field {name!r}; it has {', '.join(self.fields)}"
            )
        return self.fields[name]


class IndexedImages:
    """The rows of a .jsonl or .tsv index, whose images are in a folder or a zip file.

    Args:
        images: path of the folder or zip file.
        index: path of the index; a .tsv begins with a line of field names.
        image_field: field with the path of the image inside the folder or zip file.
    """

    def __init__(self, images, index, image_field):
        self._index = pathlib.Path(index)
        self._image_field = image_field
        if not self._index.is_file():
            raise InvalidInputError(f"there is no index {str(index)!r}; correct --index")
        if self._index.suffix not in INDEX_FORMATS:
            raise InvalidInputError(
                f"the index {str(index)!r} is none of {', '.join(INDEX_FORMATS)}; convert it"
            )
        self._read = _image_reader(pathlib.Path(images))

    def __len__(self):
        try:
            with open(self._index, encoding="utf-8-sig") as lines:
                count = sum(1 for line in lines if line.strip())
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"the index {str(self._index)!r} is not UTF-8 ({error.reason}); convert it"
            ) from None
        return count - (self._index.suffix == ".tsv" and count > 0)

    def __iter__(self):
        rows = self._jsonl_rows() if self._index.suffix == ".jsonl" else self._tsv_rows()
        for number, fields in enumerate(rows, start=1):
            row = Row(self._place(number), "", fields, bytes)
            name = str(row.field(self._image_field))
            yield dataclasses.replace(
                row, image_name=name, read_image=lambda name=name: self._read(name)
            )

    def _place(self, number):
        return f"row {number} of {self._index.name}"

    def _jsonl_rows(self):
        with open(self._index, encoding="utf-8-sig") as lines:
            for number, line in enumerate(filter(str.strip, lines), start=1):
                try:
                    fields = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InvalidInputError(
                        f"{self._place(number)} is not JSON ({error.msg}); correct the line"
                    ) from None
                if not isinstance(fields, dict):
                    raise InvalidInputError(
                        f"{self._place(number)} is no JSON object; write fields with names"
                    )
                yield fields

    def _tsv_rows(self):
        with open(self._index, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(filter(str.strip, lines), delimiter="\t", quoting=csv.QUOTE_NONE)
            names = next(rows, [])
            for number, values in enumerate(rows, start=1):
                if len(values) != len(names):
                    raise InvalidInputError(
                        f"{self._place(number)} has {len(values)} fields instead of "
                        f"{len(names)}; separate fields with tabs and use none within them"
                    )
                yield dict(zip(names, values))


class TensorFlowDataset:
    """The rows of a split of TensorFlow Datasets, images kept as they are encoded.

    Args:
        name_and_split: such as `"coco_captions:train"` or `"coco_captions:train[:1000]"`.
        image_field: name of the image feature; features within others as `"captions/text"`.
        data_dir: folder of TensorFlow Datasets, or `None` for its default.
    """

    def __init__(self, name_and_split, image_field, data_dir=None):
        import tensorflow_datasets as tfds  # heavy, and needed for this input only

        name, _, split = name_and_split.partition(":")
        if not name or not split:
            raise InvalidInputError(
                f"--tfds={name_and_split!r} is not NAME:SPLIT, such as coco_captions:train"
            )
        try:
            self._builder = tfds.builder(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            raise InvalidInputError(
                f"TensorFlow Datasets has no {name!r}; its names are listed at "
                "https://www.tensorflow.org/datasets/catalog"
            ) from None
        features = self._builder.info.features
        if image_field not in features:
            raise InvalidInputError(
                f"{name} has no feature {image_field!r}; it has {', '.join(features)}"
            )
        try:
            self._builder.download_and_prepare()
        except ModuleNotFoundError as error:  # it does not declare all that it imports
            raise InvalidInputError(
                f"TensorFlow Datasets needs the package {error.name!r} to prepare {name}; "
                f"run: pip install {error.name}"
            ) from None
        if split.partition("[")[0] not in self._builder.info.splits:
            raise InvalidInputError(
                f"{name} has no split {split!r}; it has {', '.join(self._builder.info.splits)}"
            )
        self._name, self._split, self._image_field = name, split, image_field
        self._decoders = {image_field: tfds.decode.SkipDecoding()}

    def __len__(self):
        return self._builder.info.splits[self._split].num_examples

    def __iter__(self):
        dataset = self._builder.as_dataset(split=self._split, decoders=self._decoders)
        for number, example in enumerate(dataset.as_numpy_iterator(), start=1):
            fields = dict(_flattened(example))
            image = fields.pop(self._image_field)
            place = f"row {number} of {self._name}:{self._split}"
            yield Row(place, f"{self._name}-{number}", fields, lambda image=image: image)

    def class_names(self, label_field):
        """Returns the class names that the data set itself has for a label, or `None`."""
        features = self._builder.info.features
        names = getattr(features[label_field], "names", None) if label_field in features else None
        return list(names) if names else None


def _image_reader(images):
    """Returns a function from the name of an image to its bytes."""
    if images.is_dir():
        return lambda name: (images / name).read_bytes()
    if not images.is_file():
        raise InvalidInputError(f"there is no folder or zip file {str(images)!r}; correct --input")
    try:
        archive = zipfile.ZipFile(images)
    except zipfile.BadZipFile:
        raise InvalidInputError(
            f"{str(images)!r} is no folder and no whole zip file; copy it again or unpack it"
        ) from None

    def read(name):
        try:
            return archive.read(name)
        except (KeyError, zipfile.BadZipFile) as error:
            raise OSError(str(error)) from None

    return read


def _flattened(example, prefix=""):
    """Yields names such as "captions/text" and values, those in Python's own types."""
    for name, value in example.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}/")
        else:
            yield prefix + name, _python_value(value)


def _python_value(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [item.decode("utf-8") if isinstance(item, bytes) else item for item in value]
    return value
