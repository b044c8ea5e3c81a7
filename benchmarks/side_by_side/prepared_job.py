"""A job that a worker is ready to do, over and over."""

import dataclasses
import typing


@dataclasses.dataclass
class PreparedJob:
    """What both workers make of the description of a job.

    Attributes:
        run: does the job once and returns what it computed, name → array or number.
        items: images, texts or steps that one run gets done.
        flops: of one run, None where it is not made of matrix products.
        close: ends what the job started; None for nothing.
    """

    run: typing.Callable
    items: int
    flops: float | None = None
    close: typing.Callable | None = None
