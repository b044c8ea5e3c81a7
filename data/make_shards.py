"""Makes TFRecord shards of one's own images and texts, and checks every image.

Captions, one or several an image, from a zip file and an index with their names:

    python data/make_shards.py --input=train.zip --index=train.jsonl --text_field=captions \\
        --source=photos --split=train --output_dir=shards --shards=8

Labels, by name or by number:

    python data/make_shards.py --input=images/ --index=train.tsv --label_field=label_id \\
        --class_names=classes.txt --source=animals --split=train --output_dir=shards

From TensorFlow Datasets, features within others joined by a slash:

    python data/make_shards.py --tfds=coco_captions:train --text_field=captions/text \\
        --source=coco --split=train --output_dir=shards --shards=64

Beside the shards it writes `<source>-<split>.json` with counts, and `<source>-<split>.rejected.tsv`
with the rows that were left out, if any.
"""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # runs from a checkout

from official_coca.program import ArgumentParser, run_program  # noqa: E402  # before TensorFlow

import tensorflow as tf  # noqa: E402

from data.shard_inputs import IndexedImages, TensorFlowDataset  # noqa: E402
from official_coca.dataloaders.example_schema import make_example  # noqa: E402
from official_coca.dataloaders.shard_writer import ShardWriter  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.preprocessing.image import IMAGE_FORMATS, decode_image  # noqa: E402

_PROGRESS_SECONDS = 5


def make_shards(rows, texts_of, source, split, output_dir, shards, drop_bad=False):
    """Writes the shards, the counts and the list of rejected rows.

    Args:
        rows: iterable of `Row` with a length.
        texts_of: function of a row to its list of texts; without any text a row is left out.
        source: name of the source.
        split: name of the split.
        output_dir: folder, made when absent.
        shards: number of shards.
        drop_bad: whether images that are missing or cannot be decoded are left out; otherwise
            they are listed and the build fails.

    Returns:
        The counts, a dict.
    """
    output_dir = pathlib.Path(output_dir)
    name = f"{source}-{split}"
    rejected_path = output_dir / f"{name}.rejected.tsv"
    counts = {"rows": 0, "examples": 0, "texts": 0, "without_text": 0, "bad_images": 0}
    rejected = []
    progress = _Progress(name, len(rows))
    with ShardWriter(output_dir, source, split, shards) as writer:
        for row in rows:
            counts["rows"] += 1
            texts = texts_of(row)
            image, reason = (None, "no text") if not texts else _checked_image(row)
            if image is None:
                counts["bad_images" if texts else "without_text"] += 1
                rejected.append((row.place, row.image_name, reason))
            else:
                writer.write(make_example(image, texts, source))
                counts["examples"] += 1
                counts["texts"] += len(texts)
            progress.show(counts)
        _write_rejected(rejected_path, rejected)
        if counts["bad_images"] and not drop_bad:
            raise InvalidInputError(
                f"{counts['bad_images']:,} of {counts['rows']:,} images are missing or cannot be "
                f"decoded, and are listed in {str(rejected_path)!r}; put them right, or run again "
                "with --drop_bad to leave them out"
            )
        if not counts["examples"]:
            raise InvalidInputError(
                f"none of {counts['rows']:,} rows gives an example; see {str(rejected_path)!r}"
            )
    summary = {"source": source, "split": split, "shards": shards, **counts}
    (output_dir / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    progress.finish(counts, shards)
    return summary


def caption_texts(row, text_fields):
    """Returns the captions of a row that are not blank, from fields with one or a list of them."""
    texts = []
    for name in text_fields:
        value = row.field(name)
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
            if text.strip():
                texts.append(text)
    return texts


def label_texts(row, label_field, class_names):
    """Returns the label names of a row; labels are names, or numbers of `class_names`."""
    value = row.field(label_field)
    values = value if isinstance(value, list) else [value]
    return [_label_name(row, item, class_names) for item in values if str(item).strip()]


def load_class_names(path):
    """Returns the lines of a file of class names."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"class names {str(path)!r} cannot be read ({error}); give a text file, one name a line"
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InvalidInputError(
                f"line {number} of class names {str(path)!r} is empty; name the class"
            )
    return [line.strip() for line in lines]


# One trace serves every image; eagerly it would take several times as long.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode(encoded):
    return decode_image(encoded)


def _checked_image(row):
    """Returns the encoded image and no reason, or no image and the reason."""
    try:
        image = row.read_image()
    except OSError as error:
        return None, f"not found: {error.strerror or error}"
    try:
        _decode(image)
    except tf.errors.InvalidArgumentError:
        return None, f"{len(image)} bytes that are cut off or none of {IMAGE_FORMATS}"
    return image, None


def _label_name(row, value, class_names):
    try:
        index = int(value)
    except ValueError:
        if class_names is not None and value not in class_names:
            raise InvalidInputError(
                f"the label {value!r} in {row.place} is not among the class names; add it there"
            ) from None
        return value
    if class_names is None:
        raise InvalidInputError(
            f"the label {index} in {row.place} is a number without a name; give --class_names"
        )
    if not 0 <= index < len(class_names):
        raise InvalidInputError(
            f"the label index {index} in {row.place} has no name: there are {len(class_names)} "
            f"class names, for 0 to {len(class_names) - 1}; add its name to --class_names or "
            "correct the row"
        )
    return class_names[index]


def _write_rejected(path, rejected):
    if not rejected:
        path.unlink(missing_ok=True)
        return
    lines = ["row\timage\treason", *("\t".join(columns) for columns in rejected)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Progress:
    """Prints a line every few seconds, with an estimate of the time left."""

    def __init__(self, name, total):
        self._name = name
        self._total = total
        self._started = self._shown = time.monotonic()

    def show(self, counts):
        now = time.monotonic()
        if now - self._shown < _PROGRESS_SECONDS:
            return
        self._shown = now
        rate = counts["rows"] / (now - self._started)
        left = (self._total - counts["rows"]) / rate
        print(
            f"{self._name}: {counts['rows']:,} of {self._total:,} rows, {rate:,.0f} a second, "
            f"about {left:,.0f} s left",
            flush=True,
        )

    def finish(self, counts, shards):
        seconds = time.monotonic() - self._started
        print(
            f"{self._name}: {counts['examples']:,} examples with {counts['texts']:,} texts in "
            f"{shards} shard(s), {seconds:.1f} s; left out: {counts['bad_images']:,} bad images, "
            f"{counts['without_text']:,} rows without text",
            flush=True,
        )


def _parse_arguments(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--input", help="folder or zip file with the images")
    parser.add_argument("--index", help=".jsonl or .tsv file with a row for each image")
    parser.add_argument("--tfds", metavar="NAME:SPLIT", help="TensorFlow Datasets, not an index")
    parser.add_argument("--tfds_data_dir", help="where TensorFlow Datasets keeps its data")
    parser.add_argument("--image_field", default="image", help="field with the image's path")
    parser.add_argument(
        "--text_field", nargs="+", help="field(s) with a caption or a list of captions"
    )
    parser.add_argument("--label_field", help="field with a label name or number, or a list")
    parser.add_argument("--class_names", help="text file that names label numbers 0, 1, ...")
    parser.add_argument("--source", required=True, help="name of the source")
    parser.add_argument("--split", required=True, help="name of the split, such as train")
    parser.add_argument("--output_dir", required=True, help="folder for the shards")
    parser.add_argument("--shards", type=int, default=1, help="number of shards")
    parser.add_argument("--drop_bad", action="store_true", help="leave bad images out")
    return parser.parse_args(arguments)


def main(arguments):
    """Runs the command line."""
    flags = _parse_arguments(arguments)
    if (flags.text_field is None) == (flags.label_field is None):
        raise InvalidInputError("give either --text_field or --label_field, and not both")
    if flags.class_names and not flags.label_field:
        raise InvalidInputError("--class_names names labels: give --label_field with it")
    class_names = load_class_names(flags.class_names) if flags.class_names else None
    if flags.tfds and not flags.input and not flags.index:
        rows = TensorFlowDataset(flags.tfds, flags.image_field, flags.tfds_data_dir)
        if flags.label_field and class_names is None:
            class_names = rows.class_names(flags.label_field)
    elif flags.input and flags.index and not flags.tfds:
        rows = IndexedImages(flags.input, flags.index, flags.image_field)
    else:
        raise InvalidInputError("give --input with --index, or --tfds alone")

    def texts_of(row):
        if flags.label_field:
            return label_texts(row, flags.label_field, class_names)
        return caption_texts(row, flags.text_field)

    make_shards(
        rows, texts_of, flags.source, flags.split, flags.output_dir, flags.shards, flags.drop_bad
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
