"""Load test of the model server on loopback, bounded in count and time.

    python benchmarks/serving_load.py --model_dir=runs/saved_model [--requests=10000] \\
        [--clients=32] [--scenarios=load,batching,swap,restart,strangers] \\
        [--output=runs/serving_load.json]

load: 2% of the requests bad in every way; no good one may fail or change, none may get a 5xx, and
memory stays flat between the first and the last thousand. batching: throughput against serving
one row a call, and one request at a time. swap: a new version, and two that are half-written,
appear meanwhile. restart: the time until it answers after kill -9, against loading the model in a
fresh process. strangers: the time of a short text beside clients that ask for very much, that leave
meanwhile, or whose bodies come slowly. Exit code 1 says that something was missed.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import uvloop
from server_process import ServerProcess
from serving_strangers import answers_beside, strangers_of_a_server
from serving_traffic import References, bad_rows, good_rows, make_requests, send_all

_FLAT = 0.05  # growth of memory, of what the process has
_WANTED_RATIO = 3.0
_SERVES_NEW_WITHIN = 120.0  # seconds
_SHORT_TEXT = 1.0  # seconds


def main():
    flags = _parse()
    results = {"command": " ".join(sys.argv), "cpus": os.cpu_count()}
    for scenario in flags.scenarios.split(","):
        results[scenario] = SCENARIOS[scenario](flags)
        print(scenario, json.dumps(results[scenario], indent=1), flush=True)
    if flags.output:
        flags.output.parent.mkdir(parents=True, exist_ok=True)
        flags.output.write_text(json.dumps(results, indent=1) + "\n")
    missed = [
        f"{scenario}: {check}"
        for scenario in flags.scenarios.split(",")
        for check, passed in results[scenario]["checks"].items()
        if not passed
    ]
    print("missed: " + "; ".join(missed) if missed else "all checks passed")
    return 1 if missed else 0


def load(flags):
    """Good and bad requests together."""
    good = good_rows()
    requests = make_requests(flags.requests, flags.mix, good, bad_rows(), flags.bad_share)
    with ServerProcess(flags.model_dir, *flags.server_flag) as server:
        references = References(server.predict_url, flags.mix, good)
        memory = []  # (answers so far, bytes)

        def sample(answers):
            if len(answers) % 50 == 0:
                memory.append((len(answers), server.memory()))

        started = time.perf_counter()
        answers = uvloop.run(
            send_all(server.predict_url, requests, flags.clients, references, sample)
        )
        seconds = time.perf_counter() - started
        exit_code = server.stop()
    part = min(1000, flags.requests // 5)
    first = statistics.mean(size for count, size in memory if count <= part)
    last = statistics.mean(size for count, size in memory if count > flags.requests - part)
    result = _summary(answers) | {
        "seconds": round(seconds, 1),
        "requests_per_second": round(len(answers) / seconds, 1),
        "memory_first_mb": round(first / 2**20),
        "memory_last_mb": round(last / 2**20),
        "memory_peak_mb": round(max(size for _, size in memory) / 2**20),
        "exit_code": exit_code,
    }
    result["checks"] |= {
        "memory flat": last - first <= _FLAT * first,
        "clean exit": exit_code == 0,
    }
    return result


def batching(flags):
    """Requests a second in batches, against one row a call and against one request at a time.

    Two servers, one of which makes no batches, are asked in turns, that one by a lone client too.
    The lone client is for information: others gain from more cores as well as from batches.
    """
    requests = make_requests(flags.throughput_requests, flags.mix, good_rows(), [], 0.0)
    with contextlib.ExitStack() as stack:
        batches, one_row = (
            stack.enter_context(ServerProcess(flags.model_dir, *flags.server_flag, *extra))
            for extra in ((), ("--max_batch_size=1",))
        )
        variants = {
            "batches": (batches, flags.clients, requests),
            "one row a call": (one_row, flags.clients, requests),
            "one request at a time": (one_row, 1, requests[: len(requests) // 4]),
        }
        rounds = [
            {name: _throughput(*variant) for name, variant in variants.items()}
            for _ in range(flags.rounds)
        ]
    rates, processor = (
        {name: statistics.median(round_[name][part] for round_ in rounds) for name in variants}
        for part in range(2)
    )
    ratios = {name: rates["batches"] / rates[name] for name in list(variants)[1:]}
    return {
        "requests_per_second": _rounded(rates),
        "rounds": [_rounded({name: rate for name, (rate, _) in each.items()}) for each in rounds],
        "server_cpu_ms_per_request": _rounded(processor),
        "ratio_to": _rounded(ratios),
        "checks": {
            f"at least {_WANTED_RATIO:g} times": ratios["one row a call"] >= _WANTED_RATIO
        },
    }


def _throughput(server, clients, requests):
    """Returns requests a second and the server's processor time of a request in milliseconds."""
    uvloop.run(send_all(server.predict_url, requests[:64], clients))
    started, used = time.perf_counter(), server.cpu_seconds()
    answers = uvloop.run(send_all(server.predict_url, requests, clients))
    seconds, used = time.perf_counter() - started, server.cpu_seconds() - used
    if any(answer.status != 200 for answer in answers):
        raise RuntimeError("a good request failed while throughput was measured")
    return len(answers) / seconds, 1000 * used / len(answers)


def swap(flags):
    """A new version appears under load, and two half-written ones before it."""
    good = good_rows()
    requests = make_requests(4096, flags.mix, good, [], 0.0)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        source = newest_version(flags.model_dir)
        shutil.copytree(source, directory / "1")
        with ServerProcess(directory, *flags.server_flag) as server:
            references = References(server.predict_url, flags.mix, good)
            done, times = asyncio.Event(), {}

            async def change_versions():
                await asyncio.sleep(2)
                write_half(source, directory)
                await asyncio.sleep(4)
                shutil.copytree(source, directory / "new")
                (directory / "new").rename(directory / "9")
                times["there"] = time.perf_counter()
                end = times["there"] + _SERVES_NEW_WITHIN
                while "served" not in times and time.perf_counter() < end:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(3)
                done.set()

            def watch(answers):
                if answers[-1].version == "9":
                    times.setdefault("served", answers[-1].finished)

            def until_done():
                for request in itertools.cycle(requests):
                    if done.is_set():
                        return
                    yield request

            async def both():
                sending = send_all(
                    server.predict_url, until_done(), flags.clients, references, watch
                )
                answers, _ = await asyncio.gather(sending, change_versions())
                return answers

            answers = uvloop.run(both())
            exit_code = server.stop()
    result = _summary(answers)
    versions = collections.Counter(answer.version for answer in answers)
    result["answers_by_version"] = dict(versions)
    if "served" in times:
        result["seconds_until_served"] = round(times["served"] - times["there"], 1)
    result["checks"] |= {
        "only whole versions": set(versions) == {"1", "9"},
        "clean exit": exit_code == 0,
    }
    return result


def restart(flags):
    """kill -9 under load, then a start, against loading in a fresh process; `rounds` times."""
    code = (
        "import tensorflow as tf, tensorflow_text, sys\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "print(len(loaded.signatures))"
    )
    source, answered, ready, loading = newest_version(flags.model_dir), [], [], []
    requests = make_requests(200, flags.mix, good_rows(), [], 0.0)
    server = ServerProcess(flags.model_dir, *flags.server_flag)
    try:
        for _ in range(flags.rounds):
            uvloop.run(_kill_under_load(server, requests, flags.clients))
            port = server.port
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, source], check=True, capture_output=True)
            loading.append(time.perf_counter() - started)
            probe = requests[0].body
            server = ServerProcess(flags.model_dir, *flags.server_flag, port=port, probe=probe)
            answered.append(server.answer_seconds)
            ready.append(server.start_seconds)
        exit_code = server.stop()
    finally:
        server.__exit__()
    answer_seconds, load_seconds = statistics.median(answered), statistics.median(loading)
    return {
        "seconds_until_first_answer": round(answer_seconds, 1),
        "seconds_until_ready": round(statistics.median(ready), 1),
        "seconds_to_load_in_a_fresh_process": round(load_seconds, 1),
        "ratio": round(answer_seconds / load_seconds, 2),
        "checks": {"clean exit": exit_code == 0},
    }


def strangers(flags):
    """The longest of some short texts, in seconds, while others are a burden to the server."""
    seconds = {}
    with ServerProcess(flags.model_dir, *flags.server_flag) as server:
        for name, burden in strangers_of_a_server(flags.clients).items():
            answers = uvloop.run(answers_beside(burden, server.predict_url))
            if any(answer.status != 200 for answer in answers):
                raise RuntimeError(f"a short text failed beside {name}")
            seconds[name] = round(max(answer.seconds for answer in answers), 3)
        exit_code = server.stop()
    return {
        "longest_seconds": seconds,
        "checks": {
            f"within {_SHORT_TEXT:g} s": max(seconds.values()) <= _SHORT_TEXT,
            "clean exit": exit_code == 0,
        },
    }


SCENARIOS = {
    "load": load,
    "batching": batching,
    "swap": swap,
    "restart": restart,
    "strangers": strangers,
}


def newest_version(model_dir):
    """The directory of the newest version."""
    return max((path for path in model_dir.iterdir() if path.name.isdecimal()),
               key=lambda path: int(path.name))  # fmt: skip


def write_half(source, directory):
    """Writes versions 7, without variables, and 8, with variables that are cut short."""
    (directory / "7").mkdir()
    shutil.copy(source / "saved_model.pb", directory / "7")
    shutil.copytree(source, directory / "8")
    data = next((directory / "8" / "variables").glob("variables.data-*"))
    os.truncate(data, data.stat().st_size // 2)


def _rounded(values):
    return {name: round(value, 2) for name, value in values.items()}


async def _kill_under_load(server, requests, clients):
    sending = asyncio.create_task(send_all(server.predict_url, requests, clients))
    await asyncio.sleep(0.2)
    server.kill()
    await sending


def _summary(answers):
    good = [answer for answer in answers if answer.request.is_good]
    seconds = sorted(answer.seconds for answer in good)
    failed = sum(answer.status != 200 for answer in good)
    wrong = sum(answer.is_wrong for answer in answers)
    statuses = collections.Counter(answer.status for answer in answers)
    bad = collections.defaultdict(collections.Counter)
    for answer in answers:
        for index, row in enumerate(answer.request.rows):
            if row.kind != "good":
                valid = answer.columns["valid"][index] if answer.columns else None
                bad[row.kind][f"{answer.status} valid={valid}"] += 1
    return {
        "answers": len(answers),
        "failed_good_requests": failed,
        "wrong_rows": wrong,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "bad_rows": {kind: dict(counts) for kind, counts in bad.items()},
        "p50_ms": round(1000 * seconds[len(seconds) // 2], 1),
        "p99_ms": round(1000 * seconds[int(len(seconds) * 0.99)], 1),
        "checks": {
            "no failed good request": failed == 0,
            "no row harmed by others": wrong == 0,
            "no 5xx": not any(status == 0 or status >= 500 for status in statuses),
        },
    }


def _mix(text):
    pairs = (part.partition(":")[::2] for part in text.split(","))
    return {name: int(weight or 1) for name, weight in pairs}


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model_dir", type=pathlib.Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--bad_share", type=float, default=0.02)
    parser.add_argument(
        "--mix",
        type=_mix,
        default="encode_image:6,encode_text:2,classify:1,generate:1",
        help="signatures and their weights",
    )
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--throughput_requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of batching and of restart")
    parser.add_argument("--server_flag", action="append", default=[], help="handed to the server")
    parser.add_argument("--output", type=pathlib.Path, help="JSON of the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
