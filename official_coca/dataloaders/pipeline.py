"""From shards to the batches that models are trained and evaluated on.

B examples of a batch, H x W pixels, L tokens, T texts of an example.
"""

import os
import sys

import tensorflow as tf

from official_coca.dataloaders.decoding import decode_rows, stand_ins
from official_coca.dataloaders.example_schema import parse_examples
from official_coca.dataloaders.example_stream import ExampleStream
from official_coca.dataloaders.mixture import Mixture
from official_coca.dataloaders.read_errors import NO_IMAGE_MESSAGE, explained_read_errors
from official_coca.errors import InvalidInputError
from official_coca.preprocessing.compiled_frames import fast_resize
from official_coca.preprocessing.prompts import clean_alt_text


def training_dataset(
    sources,
    preprocessor,
    augmentation,
    *,
    batch_size,
    seed,
    mode="fixed_shares",
    shuffle_buffer=10_000,
    start_step=0,
    bad_examples=None,
    input_context=None,
):
    """Returns the endless dataset of training batches, the same under the same seed.

    Batch number k depends on the arguments and on k alone, whatever the parallelism: a dataset
    with `start_step=k` begins with the very batch that another one has at place k. Examples
    without text are left out. An undecodable image is counted, and its place taken by another
    example of its source in the batch.

    Args:
        sources: sequence of `Source`.
        preprocessor: `ImageTextPreprocessor`; makes tokens, and gives the image size.
        augmentation: function of an image (h,w,3) uint8 and a seed (2,) int32, to (H,W,3) float32.
        batch_size: B, the global batch size.
        seed: integer.
        mode: `"fixed_shares"` of each batch per source, or `"sample"` by share.
        shuffle_buffer: records of each source to shuffle among.
        start_step: training steps, so batches of `batch_size`, to pass over.
        bad_examples: `BadExampleCounter` with the names of the sources, or `None`.
        input_context: `tf.distribute.InputContext`; a worker then reads its own part of the
            records, and batches are of the size of one replica.

    Returns:
        `tf.data.Dataset` of `(x, y, sample_weight)` with x = `{"images": (B,H,W,3) float32,
        "token_ids": (B,L) int32, "source_ids": (B,) int32}`, y = next tokens (B,L) int32,
        sample_weight = (B,L) float32.
    """
    sources = _checked_sources(sources, bad_examples)
    start_batch, worker = start_step, (0, 1)
    if input_context is not None:
        batch_size = input_context.get_per_replica_batch_size(batch_size)
        worker = (input_context.input_pipeline_id, input_context.num_input_pipelines)
        start_batch *= input_context.num_replicas_in_sync // input_context.num_input_pipelines
    if batch_size < 1 or start_step < 0:
        raise InvalidInputError(
            f"batch_size={batch_size} and start_step={start_step}: a batch has at least 1 example "
            "and steps are counted from 0"
        )
    mixture = Mixture(sources, batch_size, mode, seed)
    image_size = tuple(preprocessor.image_converter.image_size)
    streams = [
        ExampleStream(
            source,
            source_id,
            seed=seed,
            shuffle_buffer=shuffle_buffer,
            worker=worker,
            bad_examples=bad_examples,
        )
        for source_id, source in enumerate(sources)
    ]

    def decode(batch):
        rows, views = decode_rows(batch["image"], batch["seed"], augmentation, image_size)
        texts, source_ids = batch["text"], batch["source_id"]
        if bad_examples is not None:
            bad_examples.add_images(source_ids, ~_row_mask(rows, batch_size))

        def replace():
            with tf.control_dependencies(
                [tf.debugging.Assert(tf.size(rows) > 0, [NO_IMAGE_MESSAGE])]
            ):
                choice = stand_ins(rows, source_ids)
            taken = tf.gather(rows, choice)
            return tf.gather(views, choice), tf.gather(texts, taken), tf.gather(source_ids, taken)

        views, texts, source_ids = tf.cond(
            tf.size(rows) < batch_size, replace, lambda: (views, texts, source_ids)
        )
        return (
            tf.ensure_shape(views, (batch_size, *image_size, 3)),
            tf.ensure_shape(texts, (batch_size,)),
            tf.ensure_shape(source_ids, (batch_size,)),
        )

    def tokenize(images, texts, source_ids):
        token_ids, targets, weights = preprocessor.captioning_pair(texts)
        inputs = {"images": images, "token_ids": token_ids, "source_ids": source_ids}
        return inputs, targets, weights

    with explained_read_errors(sources):
        for stream in streams:
            stream.check_usable()
        positions = mixture.positions(start_batch)
        mixed = tf.data.Dataset.choose_from_datasets(
            [stream.from_position(position) for stream, position in zip(streams, positions)],
            mixture.choices(start_batch),
        )
    batches = mixed.batch(batch_size, drop_remainder=True).prefetch(2).map(decode)
    batches = batches.map(tokenize, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options(input_context is not None))


def evaluation_dataset(source, image_converter, batch_size, bad_examples=None):
    """Returns the finite dataset of all examples of a source, in the order of its shards.

    Undecodable images are left out, with a line on standard error; the batch is shorter then.

    Args:
        source: `Source`; its texts are cleaned but nothing is drawn: label names stay names.
        image_converter: `ImageConverter`, the central path of evaluation and serving.
        batch_size: B.
        bad_examples: `BadExampleCounter` with the name of the source, or `None`.

    Returns:
        `tf.data.Dataset` of `{"images": (B,H,W,3) float32, "texts": (B,(T)) ragged strings}`.
    """
    (source,) = _checked_sources([source], bad_examples)

    def to_batch(serialized, rows, views):
        parsed = parse_examples(serialized)
        num_rows = tf.size(serialized)
        num_bad = num_rows - tf.size(rows)
        if bad_examples is not None:
            bad_examples.add_images(tf.zeros([num_rows], tf.int32), ~_row_mask(rows, num_rows))
        tf.cond(
            num_bad > 0,
            lambda: tf.print(
                f"source {source.name!r}: skipped", num_bad, "undecodable image(s)",
                output_stream=sys.stderr,
            ),
            tf.no_op,
        )  # fmt: skip
        texts = tf.gather(parsed["texts"], rows)
        texts = texts.with_values(clean_alt_text(texts.values))
        return {
            "images": views,
            "texts": tf.ragged.boolean_mask(texts, tf.strings.length(texts) > 0),
        }

    files = source.files()
    with explained_read_errors([source]):
        if not any(True for _ in tf.data.TFRecordDataset(files).take(1)):
            raise InvalidInputError(
                f"the shards {source.pattern!r} of source {source.name!r} hold no example; make "
                "them anew with data/make_shards.py"
            )
    records = tf.data.TFRecordDataset(files, buffer_size=1 << 20)
    batches = _converted_batches(records, image_converter, batch_size).map(to_batch)
    batches = batches.filter(lambda batch: tf.shape(batch["images"])[0] > 0)
    options = _options(sharded=False)
    # The thread that tunes would hold up the end of each pass by as much as it sleeps at a time:
    # 120 ms were seen.
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def _converted_batches(records, image_converter, batch_size):
    """Returns batches of serialized examples (B,), decodable rows (D,) and their images."""
    resize = fast_resize(image_converter, image_converter.image_size)

    def convert(serialized):
        encoded = parse_examples(serialized)["image"]
        rows, views = decode_rows(
            encoded,
            tf.zeros((tf.size(encoded), 2), tf.int32),
            lambda image, seed: image_converter.normalize(resize(image)),
            image_converter.image_size,
        )
        return serialized, rows, views

    # Two batches under way and some kept ahead, so that no thread waits for the last picture of a
    # batch, nor while texts are cleaned.
    return records.batch(batch_size).prefetch(2).map(convert, 2, deterministic=True).prefetch(2)


def _checked_sources(sources, bad_examples):
    sources = tuple(sources)
    names = [source.name for source in sources]
    if not sources:
        raise InvalidInputError("there is no source to read; give at least one")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"two sources have the same name among {names}; rename one")
    if bad_examples is not None and bad_examples.source_names != tuple(names):
        raise InvalidInputError(
            f"the BadExampleCounter is for the sources {bad_examples.source_names}, not for "
            f"{tuple(names)}; make it with the names in this order"
        )
    return sources


def _row_mask(rows, num_rows):
    """Returns (num_rows,) bool, true at `rows`."""
    present = tf.ones_like(rows, tf.int32)
    return tf.scatter_nd(rows[:, tf.newaxis], present, tf.reshape(num_rows, [1])) > 0


def _options(sharded):
    options = tf.data.Options()
    options.deterministic = True
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if sharded else policy.DATA
    return options
