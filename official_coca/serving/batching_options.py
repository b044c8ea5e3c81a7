"""How the model server merges requests."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """How requests are merged; the names of the first four are those of TF Serving.

    Args:
        max_batch_size: rows of a batch; a larger request is run in pieces.
        batch_timeout_micros: longest wait of a request for others to join it; see `BatchQueue`.
        allowed_batch_sizes: sizes that a batch is padded up to; () to leave batches as they are.
        num_batch_threads: batches that run at the same time.
        max_queued_requests: requests that may wait; more are refused with 429.
        shared_inputs: {signature: inputs that belong to the request as a whole}; only requests
            that are equal in these are merged.
        one_for_all: {signature: inputs that may have one entry for all rows of the others}.
        unmerged: signatures whose requests run alone, in one piece.
        max_uncut_strings: pictures or texts of a request that runs in one piece.
        max_combinations: largest product of the sizes of the inputs that are not cut into
            pieces, such as labels x templates: what one call of the model may be asked for.
    """

    max_batch_size: int = 16
    batch_timeout_micros: int = 2000
    allowed_batch_sizes: tuple = ()
    num_batch_threads: int = 2
    max_queued_requests: int = 256
    shared_inputs: dict = dataclasses.field(
        default_factory=lambda: {"classify": ("labels", "templates")}
    )
    one_for_all: dict = dataclasses.field(default_factory=lambda: {"generate": ("prompt",)})
    unmerged: tuple = ("score",)
    max_uncut_strings: int = 1024
    max_combinations: int = 10_000
