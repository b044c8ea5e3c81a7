"""A worker without a framework: answers the protocol, as fast as it is told to."""

import sys
import time

import numpy as np

from benchmarks.side_by_side.prepared_job import PreparedJob
from benchmarks.side_by_side.worker_loop import Worker


def prepare(job):
    if job.get("breaks") == "politely":
        raise ValueError("this job cannot be done")
    if job.get("breaks"):
        sys.exit("gone")
    seconds = float(sys.argv[1])

    def run():
        print("whatever libraries print must not disturb the protocol")
        time.sleep(seconds)
        return {"token_ids": np.arange(job["tokens"])[None], "loss": 0.25}

    return PreparedJob(run, items=2, flops=1e6)


def profile(run, calls):
    return {"operation": [("small", 0.1), ("large", 0.9)]}


if __name__ == "__main__":
    Worker(prepare, lambda: {"nothing": lambda: None}, profile, lambda: {"python": "3"}).serve()
