"""Behaviour of the training and evaluation datasets."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from official_coca.dataloaders.bad_examples import BadExampleCounter
from official_coca.dataloaders.pipeline import evaluation_dataset, training_dataset
from official_coca.dataloaders.sources import Source
from official_coca.errors import InvalidInputError
from official_coca.preprocessing.image import ImageConverter
from tests.dataloaders.numbered_shards import image_numbers, text_numbers


def training(shards, sources, **arguments):
    arguments = {"batch_size": 8, "seed": 3, "shuffle_buffer": 16, **arguments}
    return training_dataset(sources, shards.preprocessor, shards.augmentation, **arguments)


def take(dataset, count):
    return list(itertools.islice(iter(dataset), count))


def assert_same_batches(first, second):
    for left, right in zip(first, second, strict=True):
        for a, b in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_batch_has_the_fixed_shares(shards):
    sources = [
        shards.source("names", range(20), "labels", share=1),
        shards.source("web", range(100, 130), share=3),
    ]
    for x, y, weights in take(training(shards, sources), 12):
        assert x["images"].shape == (8, 4, 4, 3) and x["images"].dtype == tf.float32
        assert x["token_ids"].shape == y.shape == weights.shape
        assert np.bincount(x["source_ids"]).tolist() == [2, 6]
        assert (np.array(image_numbers(x["images"])) >= 100).tolist() == (
            x["source_ids"].numpy() == 1
        ).tolist()


def test_each_picture_comes_with_its_own_text(shards):
    sources = [
        shards.source("names", range(20), "labels"),
        shards.source("web", range(100, 130), bad={110}),
    ]
    for x, y, _ in take(training(shards, sources), 12):
        assert text_numbers(shards.texts(y)) == image_numbers(x["images"])


def test_rows_are_padded_right_and_trimmed_to_a_bucket(shards):
    (x, y, weights), *_ = take(training(shards, [shards.source("web", range(8))]), 1)
    assert y.shape[1] in (4, 8, 12)
    np.testing.assert_array_equal(weights, (y.numpy() != 0).astype(np.float32))
    assert (x["token_ids"].numpy()[:, 0] == 2).all()
    assert (np.diff(weights.numpy(), axis=1) <= 0).all()


def test_same_seed_gives_same_batches_and_another_seed_gives_others(shards):
    sources = [shards.source("names", range(20), "labels"), shards.source("web", range(100, 130))]
    first = take(training(shards, sources), 8)
    assert_same_batches(first, take(training(shards, sources), 8))
    other = take(training(shards, sources, seed=4), 8)
    assert any((a[0]["images"] != b[0]["images"]).numpy().any() for a, b in zip(first, other))


def test_batches_do_not_depend_on_the_number_of_threads(shards):
    sources = [shards.source("names", range(20), "labels"), shards.source("web", range(100, 130))]
    single = tf.data.Options()
    single.threading.private_threadpool_size = 1
    single.threading.max_intra_op_parallelism = 1
    dataset = training(shards, sources)
    assert_same_batches(take(dataset, 8), take(dataset.with_options(single), 8))


@pytest.mark.parametrize("global_seed", [0, 5])
def test_global_seed_of_tensorflow_changes_nothing(shards, global_seed):
    sources = [shards.source("web", range(30))]
    first = take(training(shards, sources), 6)
    tf.random.set_seed(global_seed)
    assert_same_batches(first, take(training(shards, sources), 6))


@pytest.mark.parametrize("mode", ["fixed_shares", "sample"])
def test_resumed_stream_equals_uninterrupted_stream(shards, mode):
    sources = [
        shards.source("names", range(20), "labels", bad={3, 7}),
        shards.source(
            "web", range(100, 130), share=2, bad={105}, texts=lambda n: [f"item {n}"] * (n % 5 > 0)
        ),
    ]
    whole = take(training(shards, sources, mode=mode), 20)
    for start_step in (1, 17):  # within the first epoch, and some epochs later
        resumed = take(training(shards, sources, mode=mode, start_step=start_step), 3)
        assert_same_batches(whole[start_step : start_step + 3], resumed)


def test_an_epoch_reads_every_example_once_and_in_another_order_than_the_last(shards):
    batches = take(training(shards, [shards.source("web", range(40))]), 10)
    numbers = [image_numbers(x["images"]) for x, _, _ in batches]
    first, second = sum(numbers[:5], []), sum(numbers[5:], [])
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second and first != sorted(first)


def test_label_sentence_of_a_picture_varies_over_epochs(shards):
    # One file and no shuffling: a picture has the same place in every epoch.
    source = shards.source("names", range(16), "labels", shards=1)
    seen = {}
    for x, y, _ in take(training(shards, [source], shuffle_buffer=1), 24):
        for number, text in zip(image_numbers(x["images"]), shards.texts(y)):
            seen.setdefault(number, set()).add(text)
    for number, texts in seen.items():
        assert texts <= {f"photo of {number}", f"the {number}", f"a {number}"}
        assert len(texts) > 1


def test_one_of_several_captions_is_drawn_anew_each_epoch(shards):
    source = shards.source("web", range(8), texts=lambda n: [f"a {n}", "", f"the {n}"])
    texts = [shards.texts(y) for _, y, _ in take(training(shards, [source]), 12)]
    assert {text for batch in texts for text in batch} == {
        f"{word} {number}" for word in ("a", "the") for number in range(8)
    }


def test_captions_are_cleaned_and_empty_ones_dropped_and_counted(shards):
    def texts(number):
        return [["  item \n 0"], ["&nbsp;"], [], ["item &#50;"]][number % 4]

    counter = BadExampleCounter(["web"])
    source = shards.source("web", range(16), texts=texts)
    batches = take(training(shards, [source], bad_examples=counter), 4)
    assert {text for _, y, _ in batches for text in shards.texts(y)} == {"item 0", "item 2"}
    assert {n % 4 for x, _, _ in batches for n in image_numbers(x["images"])} == {0, 3}
    counts = counter.counts()["web"]
    assert counts["empty"] >= 8 and counts["empty"] % 8 == 0 and counts["undecodable"] == 0


def test_undecodable_image_is_counted_and_its_place_taken_by_its_source(shards):
    sources = [
        shards.source("names", range(20), "labels", bad={5}),
        shards.source("web", range(100, 140), bad={101, 102}),
    ]
    counter = BadExampleCounter(["names", "web"])
    batches = take(training(shards, sources, bad_examples=counter), 20)
    numbers = set(sum((image_numbers(x["images"]) for x, _, _ in batches), []))
    assert numbers == {*range(20), *range(100, 140)} - {5, 101, 102}
    for x, _, _ in batches:
        assert np.bincount(x["source_ids"]).tolist() == [4, 4]
    counts = counter.counts()
    assert counts["names"]["undecodable"] >= 4 and counts["web"]["undecodable"] >= 4
    assert counts["names"]["seen"] >= 80
    assert "names" in counter.summary()


def test_workers_read_disjoint_parts_that_make_the_whole(shards):
    for number_of_shards in (1, 4):  # fewer files than workers, and enough
        source = shards.source(f"web{number_of_shards}", range(40), shards=number_of_shards)
        parts = []
        for worker in range(2):
            context = tf.distribute.InputContext(2, worker, 2)
            batches = take(training(shards, [source], input_context=context), 5)
            assert batches[0][0]["images"].shape[0] == 4
            parts.append(set(sum((image_numbers(x["images"]) for x, _, _ in batches), [])))
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == set(range(40))


def test_missing_shards_are_named_with_the_way_to_make_them(shards):
    source = Source("web", str(shards.directory / "nothing-*.tfrecord"), "captions")
    with pytest.raises(InvalidInputError, match=r"'web'.*nothing-\*.*make_shards"):
        training(shards, [source])
    with pytest.raises(InvalidInputError, match=r"nothing-\*"):
        evaluation_dataset(source, shards.image_converter, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"numbers": []}, "no example with text"),
        ({"numbers": range(9), "texts": lambda n: [" "]}, "no example with text"),
        ({"numbers": range(9), "bad": set(range(9))}, "none of the first 9 images"),
    ],
)
def test_source_without_any_usable_example_is_refused_at_once(shards, arguments, message):
    sources = [shards.source("good", range(9)), shards.source("web", **arguments)]
    with pytest.raises(InvalidInputError, match=f"'web'.*{message}"):
        training(shards, sources)


def test_counter_for_other_sources_is_refused(shards):
    with pytest.raises(InvalidInputError, match="BadExampleCounter"):
        training(
            shards, [shards.source("web", range(9))], bad_examples=BadExampleCounter(["other"])
        )


@pytest.mark.parametrize("resampler", ["tensorflow", "pillow"])
def test_evaluation_keeps_every_example_in_order_with_all_its_texts(shards, resampler):
    source = shards.source("web", range(10), texts=lambda n: [f" item  {n}"] * (n % 3), shards=1)
    batches = list(evaluation_dataset(source, ImageConverter(4, resampler=resampler), 4))
    assert [batch["images"].shape[0] for batch in batches] == [4, 4, 2]
    assert sum((image_numbers(batch["images"]) for batch in batches), []) == list(range(10))
    texts = sum((batch["texts"].to_list() for batch in batches), [])
    assert texts == [[f"item {n}".encode()] * (n % 3) for n in range(10)]


@pytest.mark.parametrize("resampler", ["tensorflow", "pillow"])
def test_evaluation_leaves_out_undecodable_images_and_says_so(shards, resampler, capfd):
    source = shards.source("web", range(12), bad={1, 4, 5, 6, 7}, shards=1)
    counter = BadExampleCounter(["web"])
    converter = ImageConverter(4, resampler=resampler)
    dataset = evaluation_dataset(source, converter, 4, bad_examples=counter)
    batches = list(dataset)
    numbers = [image_numbers(batch["images"]) for batch in batches]
    assert numbers == [[0, 2, 3], [8, 9, 10, 11]]
    assert batches[0]["texts"].to_list() == [[b"item 0"], [b"item 2"], [b"item 3"]]
    assert counter.counts()["web"] == {"seen": 12, "undecodable": 5, "empty": 0}
    assert "source 'web': skipped 4 undecodable image(s)" in capfd.readouterr().err


def test_evaluation_of_empty_shards_is_refused(shards):
    source = shards.source("web", [])
    with pytest.raises(InvalidInputError, match="hold no example"):
        evaluation_dataset(source, shards.image_converter, 4)


def test_several_labels_are_shuffled_and_joined(shards):
    source = shards.source("pets", range(8), "labels", texts=lambda n: ["a", "the", "item"])
    texts = set()
    for _, y, _ in take(training(shards, [dataclasses.replace(source, templates=("{}",))]), 6):
        texts |= {text.replace("⁇", ",") for text in shards.texts(y)}  # "," is out of vocabulary
    assert len(texts) > 3
    for text in texts:
        assert text.count(",") == 2
        assert sorted(text.replace(",", " ").split()) == ["a", "item", "the"]
