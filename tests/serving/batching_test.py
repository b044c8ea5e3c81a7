"""Requests are merged where they may be, and one never harms another."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from official_coca.serving.batching import BatchQueue
from official_coca.serving.batching_options import BatchingOptions
from official_coca.serving.request_error import RequestError
from official_coca.serving.server_metrics import ServerMetrics
from official_coca.serving.signature import Signature, TensorInfo

POISON = -1.0


class Version:
    """Doubles `x`; says what it was called with; waits while it is held back."""

    def __init__(self):
        self.calls = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.entered = threading.Event()

    def run(self, signature_name, inputs):
        self.entered.set()
        assert self.may_run.wait(20)
        self.calls.append({name: array.tolist() for name, array in inputs.items()})
        if POISON in inputs.get("x", ()):
            raise tf.errors.InvalidArgumentError(None, None, "poison\n\t [[{{node x}}]]")
        if signature_name == "broken":
            raise RuntimeError("broken")
        if signature_name == "total":
            return {"total": np.array(len(inputs["x"]))}
        if signature_name == "ragged":
            return {"y": np.zeros((len(inputs["x"]), int(inputs["x"].max())))}
        if signature_name == "named":
            return {"y": inputs["x"] * 2, "names": np.array([b"a", b"b"], dtype=object)}
        return {"y": inputs["x"] * 2}


@pytest.fixture
def version():
    return Version()


@pytest.fixture
def make_queue():
    queues = []

    def make(**options):
        options = {"num_batch_threads": 1, "batch_timeout_micros": 20_000, **options}
        queues.append(BatchQueue(BatchingOptions(**options), ServerMetrics()))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close(5)


# Only a call tells that the output of "total" has no rows: its rank is left open.
OUTPUTS = {
    "double": {"y": TensorInfo(tf.float32, (None,))},
    "named": {"y": TensorInfo(tf.float32, (None,)), "names": TensorInfo(tf.string, (2,))},
    "total": {"total": TensorInfo(tf.int32, None)},
    "ragged": {"y": TensorInfo(tf.float32, (None, None))},
}


def _submit(queue, version, values, name="double", seconds=20.0, **others):
    inputs = {"x": np.array(values, "float32")}
    inputs |= {key: np.array(value, dtype=object) for key, value in others.items()}
    signature = Signature(name, {}, OUTPUTS.get(name, {}), {}, None)
    return queue.submit(version, signature, inputs, time.monotonic() + seconds)


def _hold(queue, version):
    """Keeps the one thread busy; returns the future of the request that does."""
    version.may_run.clear()
    future = _submit(queue, version, [100], "score")
    assert version.entered.wait(5)
    return future


def test_requests_are_merged_and_each_gets_its_own_rows(version, make_queue):
    queue = make_queue()
    futures = [_submit(queue, version, values) for values in ([1, 2], [3], [4, 5, 6])]
    results = [future.result(5)["y"].tolist() for future in futures]
    assert results == [[2, 4], [6], [8, 10, 12]]
    assert version.calls == [{"x": [1, 2, 3, 4, 5, 6]}]


def test_batch_is_run_once_it_is_full(version, make_queue):
    queue = make_queue(max_batch_size=2, batch_timeout_micros=60_000_000)
    futures = [_submit(queue, version, [value]) for value in (1, 2)]
    assert [future.result(5)["y"].tolist() for future in futures] == [[2], [4]]


def test_batch_never_exceeds_its_size(version, make_queue):
    queue = make_queue(max_batch_size=4)
    held = _hold(queue, version)
    futures = [_submit(queue, version, [value] * 3) for value in (1, 2, 3)]
    version.may_run.set()
    held.result(5)
    assert [future.result(5)["y"].tolist() for future in futures] == [[2] * 3, [4] * 3, [6] * 3]
    assert [len(call["x"]) for call in version.calls] == [1, 3, 3, 3]


def test_lone_client_waits_for_company_once_only(version, make_queue):
    queue = make_queue(batch_timeout_micros=1_000_000)
    _submit(queue, version, [1]).result(5)
    for _ in range(3):  # each would be late if it waited
        assert _submit(queue, version, [2], seconds=0.9).result(5)["y"].tolist() == [4]


def test_requests_wait_until_as_many_are_there_as_before(version, make_queue):
    queue = make_queue(max_batch_size=4, num_batch_threads=2, batch_timeout_micros=1_000_000)
    _submit(queue, version, [1]).result(5)
    company = Version()
    held = _hold(queue, company)
    for future in [_submit(queue, version, [value]) for value in (1, 2)]:  # three are present
        future.result(5)
    version.calls.clear()
    futures = [_submit(queue, version, [2], seconds=0.9)]
    time.sleep(0.05)  # in which it would run alone
    futures.append(_submit(queue, version, [3], seconds=0.9))
    assert [future.result(5)["y"].tolist() for future in futures] == [[4], [6]]
    assert version.calls == [{"x": [2, 3]}]
    company.may_run.set()
    held.result(5)


def test_large_request_is_run_in_pieces(version, make_queue):
    values = list(range(10))
    assert _submit(make_queue(max_batch_size=4), version, values).result(5)["y"].tolist() == [
        2 * value for value in values
    ]
    assert [len(call["x"]) for call in version.calls] == [4, 4, 2]


def test_one_prompt_for_all_pictures_does_not_keep_a_request_in_one_piece(version, make_queue):
    queue = make_queue(max_batch_size=2)
    many = _submit(queue, version, [1, 2, 3], "generate", prompt=[b"a"])
    assert many.result(5)["y"].tolist() == [2, 4, 6]
    assert version.calls == [
        {"x": [1, 2], "prompt": [b"a", b"a"]},
        {"x": [3], "prompt": [b"a"]},
    ]


def test_one_value_without_an_axis_is_left_to_the_model(version, make_queue):
    queue = make_queue()
    assert _submit(queue, version, [1, 2], "generate", prompt=b"a").result(5)["y"].tolist() == [2, 4]


def test_large_request_that_nobody_waits_for_ends_with_the_piece_that_runs(version, make_queue):
    queue = make_queue(max_batch_size=1)
    version.may_run.clear()
    abandoned = _submit(queue, version, range(1000))
    assert version.entered.wait(5)
    abandoned.cancel()
    version.may_run.set()
    assert _submit(queue, version, [7]).result(5)["y"].tolist() == [14]
    assert [call["x"] for call in version.calls] == [[0], [7]]


def test_large_requests_leave_a_thread_for_others(version, make_queue):
    queue = make_queue(max_batch_size=1, num_batch_threads=2)
    others = Version()
    version.may_run.clear()
    large = [_submit(queue, version, [first, 0, 0]) for first in (1, 2, 3)]
    assert version.entered.wait(5)
    assert _submit(queue, others, [7]).result(5)["y"].tolist() == [14]
    version.may_run.set()
    assert [future.result(5)["y"].tolist()[0] for future in large] == [2, 4, 6]
    queue.close(5)
    assert queue.depth == 0


def test_pieces_of_different_shapes_are_run_as_one(version, make_queue):
    queue = make_queue(max_batch_size=2)
    assert _submit(queue, version, [1, 2, 5], "ragged").result(5)["y"].shape == (3, 5)
    assert [call["x"] for call in version.calls] == [[1, 2], [5], [1, 2, 5]]


@pytest.mark.parametrize("name", ["score", "total", "double"])
def test_many_strings_that_cannot_be_cut_are_refused(version, make_queue, name):
    queue = make_queue(max_uncut_strings=4)
    others = {"text": [b"a"] * 5} if name == "total" else {"text": [b"a"] * 6}
    values = [0.0] * 5 if name == "total" else [0.0]
    with pytest.raises(RequestError, match="strings and cannot be cut.*may have 4") as error:
        _submit(queue, version, values, name, **others).result(5)
    assert error.value.status == 400
    numbers = _submit(queue, version, [1.0] * 50, "total")
    assert numbers.result(5)["total"].tolist() == 50


def test_batch_is_padded_to_an_allowed_size_with_rows_of_its_own(version, make_queue):
    queue = make_queue(max_batch_size=8, allowed_batch_sizes=(1, 4, 8))
    assert _submit(queue, version, [1, 2, 3]).result(5)["y"].tolist() == [2, 4, 6]
    assert version.calls == [{"x": [1, 2, 3, 3]}]


def test_different_shapes_signatures_and_versions_are_not_merged(version, make_queue):
    queue, other = make_queue(), Version()
    futures = [
        _submit(queue, version, [1]),
        _submit(queue, version, [[1, 2]]),
        _submit(queue, version, [1], "another"),
        _submit(queue, other, [1]),
    ]
    for future in futures:
        future.result(5)
    assert len(version.calls) == 3 and len(other.calls) == 1


def test_classify_is_merged_among_equal_labels_only(version, make_queue):
    queue = make_queue()
    futures = [
        _submit(queue, version, [value], "classify", labels=labels, templates=[b"{}"])
        for value, labels in ((1, [b"a", b"b"]), (2, [b"a", b"b"]), (3, [b"a", b"c"]))
    ]
    assert [future.result(5)["y"].tolist() for future in futures] == [[2], [4], [6]]
    calls = sorted((call["x"], call["labels"]) for call in version.calls)
    assert calls == [([1, 2], [b"a", b"b"]), ([3], [b"a", b"c"])]


def test_score_runs_alone(version, make_queue):
    queue = make_queue()
    futures = [_submit(queue, version, [1], "score", text=[b"a"]) for _ in range(2)]
    for future in futures:
        future.result(5)
    assert len(version.calls) == 2


def test_too_many_combinations_are_refused(version, make_queue):
    queue = make_queue(max_combinations=5)
    for name, others in (
        ("classify", {"labels": [b""] * 3, "templates": [b""] * 2}),
        ("score", {"text": [b""] * 6}),
    ):
        with pytest.raises(RequestError, match="6 combinations") as raised:
            _submit(queue, version, [1], name, **others)
        assert raised.value.status == 400


def test_only_the_request_at_fault_fails(version, make_queue):
    queue = make_queue()
    futures = [_submit(queue, version, values) for values in ([1], [2, POISON], [3])]
    assert futures[0].result(5)["y"].tolist() == [2]
    assert futures[2].result(5)["y"].tolist() == [6]
    with pytest.raises(RequestError, match="refused its inputs: poison$") as raised:
        futures[1].result(5)
    assert raised.value.status == 400


def test_fault_of_the_model_is_500_and_the_thread_goes_on(version, make_queue):
    queue = make_queue()
    with pytest.raises(RequestError) as raised:
        _submit(queue, version, [1], "broken").result(5)
    assert raised.value.status == 500
    assert _submit(queue, version, [1]).result(5)["y"].tolist() == [2]


def test_signature_whose_outputs_are_not_rows_is_not_merged(version, make_queue):
    queue = make_queue()
    futures = [_submit(queue, version, [1] * size, "total") for size in (2, 3)]
    assert [int(future.result(5)["total"]) for future in futures] == [2, 3]
    version.calls.clear()
    assert int(_submit(queue, version, [1] * 4, "total").result(5)["total"]) == 4
    assert len(version.calls) == 1


def test_another_version_may_be_merged_again(version, make_queue):
    queue = make_queue()
    _submit(queue, version, [1, 2], "total").result(5)
    version.run = lambda signature_name, inputs: pytest.fail("the other version")
    newer = Version()
    held = _hold(queue, newer)
    futures = [_submit(queue, newer, [value], "double") for value in (1, 2)]
    again = [_submit(queue, newer, [value], "total") for value in (1, 2)]
    newer.may_run.set()
    held.result(5)
    assert [future.result(5)["y"].tolist() for future in futures] == [[2], [4]]
    assert [future.result(5)["total"].tolist() for future in again] == [1, 1]
    assert {"x": [1, 2]} in newer.calls[-3:]


def test_output_that_is_the_same_for_all_rows_reaches_each_client_whole(version, make_queue):
    queue = make_queue()
    futures = [_submit(queue, version, [value], "named") for value in (1, 2)]
    for future, doubled in zip(futures, (2, 4)):
        outputs = future.result(5)
        assert outputs["y"].tolist() == [doubled]
        assert outputs["names"].tolist() == [b"a", b"b"]
    assert len(version.calls) == 2


@pytest.mark.parametrize(
    "shape, by_rows",
    [((None,), True), ((None, 2), True), (None, True), ((), False), ((2,), False)],
)
def test_shapes_of_outputs_tell_what_is_never_by_rows(shape, by_rows):
    signature = Signature("s", {}, {"y": TensorInfo(tf.float32, shape)}, {}, None)
    assert signature.may_be_by_rows == by_rows


def test_rows_that_differ_between_inputs_are_left_to_the_model(version, make_queue):
    queue = make_queue()
    assert _submit(queue, version, [1, 2], prompt=[b"a"]).result(5)["y"].tolist() == [2, 4]


def test_full_queue_refuses_with_429(version, make_queue):
    queue = make_queue(max_queued_requests=2)
    held = _hold(queue, version)
    futures = [_submit(queue, version, [value]) for value in (1, 2)]
    with pytest.raises(RequestError) as raised:
        _submit(queue, version, [3])
    assert raised.value.status == 429 and raised.value.headers == {"Retry-After": "1"}
    assert queue.depth == 2
    version.may_run.set()
    for future in (held, *futures):
        future.result(5)
    assert _submit(queue, version, [3]).result(5)["y"].tolist() == [6]


def test_expired_and_cancelled_requests_are_not_run_and_leave_room(version, make_queue):
    queue = make_queue(max_queued_requests=2)
    held = _hold(queue, version)
    expired, cancelled = _submit(queue, version, [1], seconds=0.01), _submit(queue, version, [2])
    assert cancelled.cancel()
    time.sleep(0.05)
    kept = _submit(queue, version, [3])
    version.may_run.set()
    held.result(5)
    assert kept.result(5)["y"].tolist() == [6]
    with pytest.raises(RequestError) as raised:
        expired.result(5)
    assert raised.value.status == 504
    assert version.calls[1:] == [{"x": [3]}] and queue.depth == 0


def test_close_runs_what_waits_and_refuses_more(version, make_queue):
    queue = make_queue(batch_timeout_micros=60_000_000)
    future = _submit(queue, version, [1])
    assert queue.close(5)
    assert future.result(0)["y"].tolist() == [2]
    with pytest.raises(RequestError, match="shutting down"):
        _submit(queue, version, [1])
