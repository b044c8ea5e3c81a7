"""Jobs that are measured in turns, each time in a new process."""

import json
import statistics
import subprocess
import sys

from official_coca.errors import InvalidInputError


def in_turns(commands, repeats):
    """Runs each of the jobs once a turn.

    Args:
        commands: the arguments of Python by the name of the job; each prints numbers by name, as
            JSON, in its last line.
        repeats: turns.

    Returns:
        What the processes printed, in lists by the name of the job.

    Raises:
        InvalidInputError: a process failed.
    """
    turns = {job: [] for job in commands}
    for number in range(repeats):
        for job, results in turns.items():
            print(f"turn {number + 1} of {repeats}: {job}", file=sys.stderr, flush=True)
            results.append(_printed(job, [sys.executable, *map(str, commands[job])]))
    return turns


def comparison(turns, first, second, name, unit):
    """One line: medians of a number of two jobs, and the ratios of each turn."""
    left, right = ([turn[name] for turn in turns[job]] for job in (first, second))
    ratios = sorted(after / before for before, after in zip(left, right))
    return (
        f"{name}: {first} {statistics.median(left):.2f} {unit}, "
        f"{second} {statistics.median(right):.2f} {unit}; ratio of a turn "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def _printed(job, command):
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if ran.returncode:
        raise InvalidInputError(f"{job!r} failed; run {' '.join(command)} to see why")
    return json.loads(ran.stdout.splitlines()[-1])
