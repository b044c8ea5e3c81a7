"""The worker of the peers: PEERS_PYTHON -m benchmarks.side_by_side.peer_worker NAME.

NAME is open_clip or lucidrains; only that one is imported.
"""

import os
import sys

import torch

from benchmarks.side_by_side.worker_loop import MATMUL_SIZE, Worker


def jobs_of(peer):
    """The function that prepares the jobs of a peer, and the versions at work."""
    if peer == "open_clip":
        import open_clip

        from benchmarks.side_by_side import open_clip_jobs

        jobs, version = open_clip_jobs.JOBS, open_clip.__version__
    else:
        from importlib.metadata import version as version_of

        from benchmarks.side_by_side import lucidrains_jobs

        jobs, version = {"train_step": lucidrains_jobs.train_step}, version_of("coca-pytorch")
    return (
        lambda job: jobs[job["kind"]](job),
        lambda: {"torch": torch.__version__, peer: version},
    )


def make_products():
    matrix = torch.ones((MATMUL_SIZE, MATMUL_SIZE))
    return {"torch": lambda: matrix @ matrix}


def profile(run, calls):
    """Seconds of each kind of operation in one call, without those it calls in turn."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as watched:
        for _ in range(calls):
            run()
    rows = [(row.key, row.self_cpu_time_total * 1e-6 / calls) for row in watched.key_averages()]
    return {"operation": rows}


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    prepare, versions = jobs_of(sys.argv[1])
    Worker(prepare, make_products, profile, versions).serve()
