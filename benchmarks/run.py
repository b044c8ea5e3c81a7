"""Compares official_coca with open_clip and lucidrains' CoCa-pytorch, side by side in one run.

    python benchmarks/run.py --peers-python=peers/bin/python --only 'caption_*' 'encode_*' \
        --captions=flickr8k --output=runs/benchmarks/results.json

Each comparison starts a process for ours and one for the peer, on the same CPUs with the same
number of threads and the same inputs, and measures them in turns. Printed is a Markdown table; the
JSON has every sample, the machine and the versions. Checkpoints with random weights are made in
--checkpoints where they are missing. Without --peers-python ours is measured alone.

--list shows the names of the comparisons, --profile where the time of one of them goes.
"""

import fnmatch
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout

from benchmarks.side_by_side import (  # noqa: E402
    alternation,
    comparisons,
    machine,
    markdown_tables,
    pictures,
    worker_process,
)
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.program import ArgumentParser, run_program  # noqa: E402

_PROFILED_CALLS = 3


def main(arguments):
    flags = _parse(arguments)
    settings = _settings(flags)
    chosen = _choose(flags, settings)
    if flags.list:
        for comparison in chosen:
            print(f"{comparison.name:28} {comparison.model}")
        return 0
    _make_checkpoints(flags, chosen)
    if any(one.reads_pictures for one in chosen):
        pictures.write_pictures(settings.picture_paths, flags.captions)
    runner = alternation.Alternation(
        alternation.commands(flags.peers_python), flags.threads, flags.repeats, flags.seconds
    )
    if flags.profile:
        return _profile(runner, chosen)
    report = {"command": " ".join(sys.argv), "machine": machine.describe(flags.threads)}
    report["results"] = []
    for comparison in chosen:
        result = runner.run(comparison)
        report["results"].append(result)
        print(_one_line(result), file=sys.stderr, flush=True)
        if flags.output:  # after each, so that a long run that is stopped leaves what it has
            flags.output.parent.mkdir(parents=True, exist_ok=True)
            flags.output.write_text(json.dumps(report, indent=1) + "\n")
    _print_tables(report["results"])
    return 1 if any("failure" in result for result in report["results"]) else 0


def _profile(runner, chosen):
    for comparison in chosen:
        print(f"\n{comparison.name}, {comparison.model}\n")
        try:
            for label, groups in runner.profile(comparison, _PROFILED_CALLS).items():
                for group, rows in groups.items():
                    print(markdown_tables.profile_table(label, group, rows) + "\n", flush=True)
        except worker_process.WorkerFailure as failure:
            print(f"failed: {failure}")
            return 1
    return 0


def _print_tables(results):
    memory = [result for result in results if result["name"].startswith("memory_")]
    others = [result for result in results if result not in memory]
    if others:
        print(markdown_tables.results_table(others))
    if memory:
        print("\n" + markdown_tables.memory_table(memory))


def _one_line(result):
    where = f"{result['name']}, {result['model']}, {result['wall_seconds']} s"
    return f"{where}: {result.get('failure', 'done')}"


def _choose(flags, settings):
    """The comparisons that the flags ask for, in the order of the list."""
    found = []
    for model in flags.models:
        directory = _directory(flags, model)
        name, sizes = pathlib.Path(model).name, _positions(directory)
        found += comparisons.for_checkpoint(name, str(directory), settings, *sizes)
    for small in sorted({model == "small" for model in flags.models}):
        found += comparisons.without_checkpoint(settings, small)
    patterns = [flags.profile] if flags.profile else flags.only
    if not patterns:
        return found
    for pattern in patterns:
        if not any(_matches(one, pattern) for one in found):
            raise InvalidInputError(
                f"no comparison is called {pattern!r}; --list shows the names"
                + ("" if flags.captions else ", and those on real captions need --captions")
            )
    return [one for one in found if any(_matches(one, pattern) for pattern in patterns)]


def _matches(comparison, pattern):
    """A pattern is of names, or of model/name."""
    name = f"{comparison.model}/{comparison.name}"
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(comparison.name, pattern)


def _directory(flags, model):
    """The directory of a checkpoint, whether it is there yet or not."""
    if (pathlib.Path(model) / "open_clip_config.json").exists():
        return pathlib.Path(model).resolve()
    return flags.checkpoints.resolve() / model


def _make_checkpoints(flags, chosen):
    """Makes the checkpoints that the chosen comparisons need and that are missing."""
    needed = {contestant.job["model"] for one in chosen for contestant in one.contestants}
    for model in flags.models:
        directory = _directory(flags, model)
        if str(directory) in needed and not (directory / "open_clip_config.json").exists():
            _make_checkpoint(flags, model, directory)


def _make_checkpoint(flags, model, directory):
    if not flags.peers_python:
        raise InvalidInputError(
            f"there is no checkpoint {directory}; give --peers-python, which can make it, or the "
            "directory of one in --models"
        )
    print(f"making {directory}", file=sys.stderr, flush=True)
    program = "benchmarks.side_by_side.make_checkpoint"
    command = [flags.peers_python, "-m", program, model, directory]
    ran = subprocess.run(
        command, cwd=ROOT, env=worker_process.environment(flags.threads), capture_output=True,
        text=True,
    )  # fmt: skip
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InvalidInputError(f"the checkpoint of {model!r} could not be made: {last[0]}")


def _positions(directory):
    """The tokens that texts of a checkpoint can have, in a list; empty before it is made."""
    path = directory / "open_clip_config.json"
    if not path.exists():
        return []
    return [json.loads(path.read_text())["model_cfg"]["text_cfg"]["context_length"]]


def _settings(flags):
    return comparisons.Settings(
        peers=bool(flags.peers_python),
        overrides=dict(map(_override, flags.override)),
        jit_compile={"auto": "auto", "true": True, "false": False}[flags.jit_compile],
        captions_dir=str(flags.captions.resolve()) if flags.captions else None,
        picture_paths=pictures.picture_paths(flags.checkpoints, flags.pictures, flags.captions),
        batch_size=flags.batch_size,
        memory_batch_sizes=tuple(flags.memory_batch_sizes),
    )


def _override(text):
    name, separator, value = text.partition("=")
    if not separator:
        raise InvalidInputError(f"--override {text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parse(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", "--peers_python", help="Python with torch and open_clip")
    parser.add_argument("--only", nargs="+", action="extend", help="names, or patterns of names")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--profile", help="show where the time of this comparison goes")
    parser.add_argument(
        "--models", nargs="+", default=["coca_ViT-B-32"], help="open_clip's name, small, or a path"
    )
    parser.add_argument("--captions", type=pathlib.Path, help="folder of Flickr8k")
    parser.add_argument("--output", type=pathlib.Path, help="JSON of everything")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each side")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a measurement should last")
    parser.add_argument("--threads", type=int, default=len(worker_process.cpus(None)))
    parser.add_argument("--batch_size", type=int, default=8, help="of the training steps")
    parser.add_argument("--memory_batch_sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--pictures", type=int, default=2048, help="JPEG files of the input jobs")
    parser.add_argument("--jit_compile", choices=("auto", "true", "false"), default="auto")
    parser.add_argument(
        "--override", nargs="+", action="extend", default=[],
        help="NAME=VALUE, an argument of our constructor",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoints", type=pathlib.Path, default=ROOT / "runs" / "benchmarks",
        help="where checkpoints and pictures are kept",
    )  # fmt: skip
    flags = parser.parse_args(arguments)
    for name in ("repeats", "threads", "batch_size", "pictures"):
        if getattr(flags, name) < 1:
            raise InvalidInputError(f"--{name}={getattr(flags, name)} must be 1 or more")
    if flags.peers_python and not shutil.which(flags.peers_python):
        raise InvalidInputError(f"--peers-python={flags.peers_python} is no program")
    if flags.captions and not (flags.captions / "train.jsonl").is_file():
        raise InvalidInputError(f"--captions={flags.captions} has no train.jsonl; see --help")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
