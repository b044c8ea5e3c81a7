"""Trains the SentencePiece vocabulary of a model from captions, alt-texts or label names.

The defaults are the paper's (64 000 pieces). The texts are cleaned as training cleans them. Equal
input gives an equal file.

Examples:
    python data/train_sentencepiece.py --input_pattern='shards/*-train-*.tfrecord' \
        --output=vocabulary.model
    python data/train_sentencepiece.py --input_files captions.jsonl --text_field=captions \
        --vocabulary_size=4000 --output=vocabulary.model
"""

import argparse
import csv
import glob
import io
import itertools
import json
import os
import pathlib
import random
import re
import sys

import sentencepiece

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # runs from a checkout

from official_coca.errors import InvalidInputError  # noqa: E402

MODEL_TYPES = ("unigram", "bpe")

_SPECIAL_IDS = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
_THREADS = 16  # fixed: the order of its float sums, and so the result, depends on it
_CLEANING_BATCH = 4096


def train_sentencepiece(
    sentences,
    output,
    vocabulary_size=64000,
    model_type="unigram",
    input_sentence_size=5_000_000,
    seed=0,
):
    """Trains on an iterable of strings, writes the model to `output` and returns its bytes.

    Args:
        sentences: strings; empty ones are skipped.
        output: path of the model file; missing folders are made.
        vocabulary_size: number of pieces, the four special ones included.
        model_type: `"unigram"` or `"bpe"`.
        input_sentence_size: at most this many sentences, drawn at random, are used.
        seed: of that draw.
    """
    if vocabulary_size <= len(_SPECIAL_IDS):
        raise InvalidInputError(
            f"vocabulary_size={vocabulary_size} is too small; four pieces are special: raise it"
        )
    sample = _sample(sentences, input_sentence_size, seed)
    if not sample:
        raise InvalidInputError("the input holds no text; give files with at least one caption")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=model,
            vocab_size=vocabulary_size,
            model_type=model_type,
            num_threads=_THREADS,
            minloglevel=2,
            **_SPECIAL_IDS,
        )
    except RuntimeError as error:
        raise InvalidInputError(_explain(str(error), vocabulary_size, len(sample))) from None
    _write(model.getvalue(), pathlib.Path(output))
    return model.getvalue()


def read_texts(paths, text_field="caption"):
    """Yields the cleaned texts of .txt, .jsonl, .tsv and .tfrecord files.

    Args:
        paths: files to read, in this order.
        text_field: field of a .jsonl line (a string or a list of them) or column of a .tsv file.
    """
    from official_coca.preprocessing.prompts import clean_alt_text  # loads TensorFlow

    texts = itertools.chain.from_iterable(_read_file(path, text_field) for path in paths)
    while batch := list(itertools.islice(texts, _CLEANING_BATCH)):
        for text in clean_alt_text(batch).numpy():
            yield text.decode("utf-8")


def _read_file(path, text_field):
    suffix = pathlib.Path(path).suffix
    if suffix == ".tfrecord":
        yield from _read_shard(path)
        return
    if suffix not in (".txt", ".jsonl", ".tsv"):
        raise InvalidInputError(
            f"input file {path!r} is of an unknown kind; give .txt, .jsonl, .tsv or .tfrecord files"
        )
    try:
        with open(path, encoding="utf-8", newline="") as file:
            if suffix == ".txt":
                yield from file
            elif suffix == ".jsonl":
                for number, line in enumerate(file, start=1):
                    yield from _json_texts(line, text_field, f"{path!r}, line {number}")
            else:
                for row in csv.DictReader(file, delimiter="\t"):
                    yield _field(row, text_field, repr(path))
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"input file {path!r} is not UTF-8 text; convert it, or take it out of the input"
        ) from None


def _json_texts(line, text_field, place):
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        raise InvalidInputError(f"{place} is not JSON; write one object a line") from None
    if not isinstance(record, dict):
        raise InvalidInputError(f"{place} is not a JSON object; write one object a line")
    value = _field(record, text_field, place)
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(f"{place}: field {text_field!r} is not text; choose another one")
    return texts


def _field(record, name, place):
    if record.get(name) is None:
        known = ", ".join(str(key) for key in record)
        raise InvalidInputError(
            f"{place} has no text field {name!r}; choose --text_field from: {known}"
        )
    return record[name]


def _read_shard(path):
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature["text"]
            yield from feature.bytes_list.value
    except tf.errors.DataLossError:
        raise InvalidInputError(
            f"shard {path!r} is cut off or not a TFRecord file; write it again"
        ) from None


def _sample(sentences, size, seed):
    """Returns at most `size` of the sentences, each with equal chance (reservoir sampling)."""
    generator = random.Random(seed)
    sample = []
    for index, sentence in enumerate(filter(None, sentences)):
        if index < size:
            sample.append(sentence)
        elif (place := generator.randrange(index + 1)) < size:
            sample[place] = sentence
    return sample


def _write(content, path):
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise InvalidInputError(
            f"output {str(path)!r} cannot be written ({error.strerror}); give another --output"
        ) from None


def _explain(message, vocabulary_size, sentence_count):
    """Returns the one line for what SentencePiece's trainer complains of."""
    if largest := re.search(r"too high .* <= (\d+)", message):
        return (
            f"vocabulary_size={vocabulary_size} is too large for {sentence_count} texts; the "
            f"largest possible is {largest[1]}: lower it or give more text"
        )
    if smallest := re.search(r"required_chars. \d+ vs (\d+)", message):
        return (
            f"vocabulary_size={vocabulary_size} is too small; the single characters of the input "
            f"need {smallest[1]}: raise it"
        )
    return f"SentencePiece cannot train on this input: {message.strip()}"


def _input_paths(arguments):
    paths = list(arguments.input_files)
    for path in paths:
        if not os.path.isfile(path):
            raise InvalidInputError(f"input file {path!r} does not exist; check --input_files")
    if arguments.input_pattern:
        matches = sorted(glob.glob(arguments.input_pattern))
        if not matches:
            raise InvalidInputError(
                f"no file matches --input_pattern={arguments.input_pattern!r}; check the pattern"
            )
        paths += matches
    if not paths:
        raise InvalidInputError("no input; give --input_files or --input_pattern")
    return paths


def _parse_arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--input_files", nargs="+", default=[], help="files to read")
    parser.add_argument("--input_pattern", default="", help="glob of files to read")
    parser.add_argument("--text_field", default="caption", help="text field of .jsonl and .tsv")
    parser.add_argument("--output", required=True, help="model file to write")
    parser.add_argument("--vocabulary_size", type=int, default=64000, help="number of pieces")
    parser.add_argument("--model_type", choices=MODEL_TYPES, default="unigram", help="algorithm")
    parser.add_argument(
        "--input_sentence_size", type=int, default=5_000_000, help="most texts to train on"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw of these texts")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the command line and returns its exit code."""
    arguments = _parse_arguments(argv)
    try:
        paths = _input_paths(arguments)
        train_sentencepiece(
            read_texts(paths, arguments.text_field),
            arguments.output,
            arguments.vocabulary_size,
            arguments.model_type,
            arguments.input_sentence_size,
            arguments.seed,
        )
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {arguments.output}: {arguments.vocabulary_size} pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
