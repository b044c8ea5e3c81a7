"""The endless, deterministic stream of one source's usable examples, images still encoded.

An epoch reads every record once: files in a drawn order, several in turn, through a shuffle buffer.
Examples without any text are left out here, before anything is counted. What an example at a place
in an epoch is, and all that is drawn for it, depends on the seed, the epoch and that place alone,
not on what was read before. So a stream can begin at any position, and is the same from there on.

R rows (records of a block), T texts of a row.
"""

import numpy as np
import tensorflow as tf

from official_coca.dataloaders.example_schema import parse_examples
from official_coca.dataloaders.text_drawing import draw_captions
from official_coca.errors import InvalidInputError
from official_coca.preprocessing.image import decode_image
from official_coca.preprocessing.prompts import clean_alt_text, label_sentences

_BLOCK = 64  # records parsed, cleaned and drawn for together
_FILES_AT_ONCE = 8  # part of the order of records, so it is fixed

_PROBED_IMAGES = 64


class ExampleStream:
    """The stream of one source.

    Args:
        source: `Source`.
        source_id: its index among the sources.
        seed: integer.
        shuffle_buffer: number of records to shuffle among; 1 shuffles the files only.
        worker: index of this worker and number of workers; each reads its own records.
        bad_examples: `BadExampleCounter` that counts dropped texts, or `None`.
    """

    def __init__(
        self, source, source_id, *, seed, shuffle_buffer, worker=(0, 1), bad_examples=None
    ):
        if shuffle_buffer < 1:
            raise InvalidInputError(
                f"shuffle_buffer is {shuffle_buffer}; it must be at least 1 (shuffles files only)"
            )
        self.source = source
        self.source_id = source_id
        self.shuffle_buffer = shuffle_buffer
        self.bad_examples = bad_examples
        worker_index, num_workers = worker
        files = source.files()
        self._files_are_shared = len(files) < num_workers
        self._files = files if self._files_are_shared else files[worker_index::num_workers]
        self._worker = worker
        state = np.random.SeedSequence([seed, source_id, worker_index]).generate_state(2)
        self._seed = state.astype(np.int64)

    def from_position(self, position):
        """Returns the endless dataset of examples from a position on.

        Skipping parses texts but decodes no image, and passes over whole epochs at once.

        Args:
            position: number of usable examples to skip.

        Returns:
            A `tf.data.Dataset` of `{"image": scalar encoded string, "text": scalar string,
            "seed": (2,) int32, "source_id": scalar int32}`.
        """
        epoch, offset = self._epoch_and_offset(position)
        blocks = tf.data.Dataset.counter(np.int64(epoch)).flat_map(self._raw_blocks)
        examples = blocks.map(
            tf.autograph.experimental.do_not_convert(self._draw_examples),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return examples.unbatch().skip(offset)

    def check_usable(self):
        """Raises `InvalidInputError` unless the source has text and some of its images decode.

        A source without any usable example would otherwise be read in circles forever.
        """
        num_tried = 0
        for images, _, _ in self._one_pass():
            for encoded in images[: _PROBED_IMAGES - num_tried]:
                try:
                    decode_image(encoded)
                    return
                except tf.errors.InvalidArgumentError:
                    num_tried += 1
            if num_tried == _PROBED_IMAGES:
                break
        if num_tried == 0:
            raise InvalidInputError(
                f"source {self.source.name!r} has no example with text in "
                f"{self.source.pattern!r}; make its shards anew with data/make_shards.py and the "
                "right --text_field or --label_field"
            )
        raise InvalidInputError(
            f"source {self.source.name!r}: none of the first {num_tried} images in "
            f"{self.source.pattern!r} can be decoded; make its shards anew with "
            "data/make_shards.py, which checks every image"
        )

    def _epoch_and_offset(self, position):
        """Divides a position by the number of usable examples in an epoch."""
        if position == 0:
            return 0, 0
        total = 0
        for images, _, _ in self._one_pass():
            total += len(images)
            if total >= position:
                return 0, position
        return divmod(position, total)

    def _one_pass(self):
        """Yields `_usable_rows` of every block of the source once, in no drawn order."""
        return map(_usable_rows, self._read(tf.constant(self._files)).batch(_BLOCK))

    def _raw_blocks(self, epoch):
        """Returns the blocks of one epoch, `(epoch, block index, (R,) serialized examples)`."""
        file_seed, buffer_seed = tf.unstack(
            tf.random.split(tf.random.fold_in(self._seed, epoch), 2)
        )
        order = tf.argsort(tf.random.stateless_uniform([len(self._files)], file_seed))
        records = self._read(tf.gather(tf.constant(self._files), order))
        if self.shuffle_buffer > 1:
            seed = tf.random.stateless_uniform([], buffer_seed, 1, 2**62, dtype=tf.int64)
            # `shuffle` mixes TensorFlow's global seed into its own, and cannot when that is 0.
            tf.compat.v1.get_default_graph().seed = None
            records = records.shuffle(
                self.shuffle_buffer, seed=seed, reshuffle_each_iteration=False
            )
        blocks = records.batch(_BLOCK).enumerate()
        return blocks.map(lambda index, serialized: (epoch, index, serialized))

    def _read(self, files):
        def read_file(path):
            records = tf.data.TFRecordDataset(path, buffer_size=1 << 20)
            if self._files_are_shared:
                records = records.shard(self._worker[1], self._worker[0])
            return records

        return tf.data.Dataset.from_tensor_slices(files).interleave(
            read_file,
            cycle_length=min(_FILES_AT_ONCE, len(self._files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _draw_examples(self, epoch, index, serialized):
        """Returns the usable examples of a block, with all that is drawn for them.

        Args:
            epoch, index: where the block is, int64 scalars.
            serialized: (R,) strings.
        """
        images, texts, num_empty = _usable_rows(serialized)
        if self.bad_examples is not None:
            self.bad_examples.add_empty(self.source_id, num_empty)
        text_seed, example_seed = tf.unstack(
            tf.random.split(tf.random.fold_in(tf.random.fold_in(self._seed, epoch), index), 2)
        )
        if self.source.kind == "labels":
            drawn = label_sentences(texts, self.source.templates, text_seed)
        else:
            drawn = draw_captions(texts, text_seed)
        num_rows = tf.size(drawn)
        return {
            "image": images,
            "text": drawn,
            "seed": tf.random.stateless_uniform(
                tf.stack([num_rows, 2]), example_seed, minval=None, maxval=None, dtype=tf.int32
            ),
            "source_id": tf.fill([num_rows], self.source_id),
        }


# Traced once for all sources; tracing is most of what it costs to make a stream.
@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _usable_rows(serialized):
    """Parses a block, cleans its texts, and leaves out empty texts and rows without any.

    Args:
        serialized: (R,) strings.

    Returns:
        Of the U usable rows, the encoded images (U,) and the texts (U,(T)); and the number of the
        others, int64.
    """
    parsed = parse_examples(serialized)
    texts = parsed["texts"].with_values(clean_alt_text(parsed["texts"].values))
    texts = tf.ragged.boolean_mask(texts, tf.strings.length(texts) > 0)
    is_usable = texts.row_lengths() > 0
    num_empty = tf.reduce_sum(tf.cast(~is_usable, tf.int64))
    images = tf.boolean_mask(parsed["image"], is_usable)
    return images, tf.ragged.boolean_mask(texts, is_usable), num_empty
