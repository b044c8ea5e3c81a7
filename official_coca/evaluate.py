"""Evaluates a preset on shards and writes the scores as JSON.

    python -m official_coca.evaluate --model=runs/demo/preset --task=zero_shot \\
        --data='runs/demo/data/labels-test-*.tfrecord' \\
        --class_names=runs/demo/data/classes.txt --output=metrics.json
    python -m official_coca.evaluate --model=runs/demo/preset --task=retrieval \\
        --data='runs/demo/data/scenes-test-*.tfrecord' --output=metrics.json
    python -m official_coca.evaluate --model=runs/demo/preset --task=captioning --sampler=beam \\
        --num_beams=5 --data='runs/demo/data/scenes-test-*.tfrecord' --output=metrics.json
"""

import json
import sys

from official_coca.program import ArgumentParser, run_program  # first: it quietens TensorFlow

from official_coca import assembly  # noqa: E402
from official_coca.configs.experiment import EVALUATION_TASKS  # noqa: E402
from official_coca.dataloaders.read_errors import explained_read_errors  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.models.coca import CoCa  # noqa: E402
from official_coca.preprocessing.prompts import load_templates  # noqa: E402
from official_coca.saving.whole_file import WholeFile  # noqa: E402

# Flags that only one task reads, by the names of `model.generate` or `build_evaluator`.
_GENERATE_FLAGS = ("sampler", "max_length", "min_length", "num_beams")
_TASK_FLAGS = {
    "zero_shot": ("class_names", "templates"),
    "retrieval": (),
    "captioning": (*_GENERATE_FLAGS, "no_java"),
}


def main(arguments):
    flags = _parse(arguments)
    # A path that cannot be written must not be found out after an hour of captioning.
    with WholeFile(flags.output, "--output") as output:
        model = CoCa.from_preset(flags.model)
        if model.preprocessor is None:
            raise InvalidInputError(
                f"--model={flags.model} has no tokenizer; give a preset that was saved with one"
            )
        scores, details = evaluate(model, **_evaluator_arguments(flags))
        _write(output, _report(flags, scores, details))
    print(f"{flags.task} of {flags.model} on {flags.data}")
    for name, value in scores.items():
        print(f"  {name:<28} {value:.4f}")
    if "tokenizer" in details:
        print(f"  captions were compared with the tokenizer {details['tokenizer']!r}")
        for name, reason in details["left_out"].items():
            print(f"  {name} is left out: {reason}")
    print(f"written to {flags.output}")


def evaluate(model, task, pattern, **arguments):
    """Scores a model; see `assembly.build_evaluator` for the arguments.

    Returns:
        {metric: value} and the evaluator's `details`.
    """
    evaluator = assembly.build_evaluator(task, pattern, model.preprocessor, **arguments)
    with explained_read_errors([assembly.evaluation_source(task, pattern)]):
        scores = evaluator(model)
    return scores, evaluator.details


def write_json(path, value):
    """Writes a JSON file whole or not at all; directories are made."""
    with WholeFile(path) as file:
        _write(file, value)


def _write(file, value):
    content = json.dumps(value, indent=2) + "\n"
    file.write(lambda stream: stream.write(content.encode("utf-8")))


def _report(flags, scores, details):
    """What the JSON file says."""
    generate = {name: getattr(flags, name) for name in _GENERATE_FLAGS}
    return {
        "model": flags.model,
        "task": flags.task,
        "data": flags.data,
        "metrics": scores,
        "settings": {name: value for name, value in generate.items() if value is not None},
        # Beside every published caption score: METEOR and the PTB tokenizer need Java.
        **{key: details[key] for key in ("tokenizer", "left_out") if key in details},
    }


def _evaluator_arguments(flags):
    arguments = {
        "task": flags.task,
        "pattern": flags.data,
        "batch_size": flags.batch_size,
        "max_examples": flags.max_examples,
        "verbose": True,
    }
    if flags.task == "zero_shot":
        if flags.class_names is None:
            raise InvalidInputError(
                "--task=zero_shot needs --class_names, a text file with one class name a line"
            )
        arguments["class_names"] = flags.class_names
        if flags.templates is not None:
            arguments["templates"] = load_templates(flags.templates)
    if flags.task == "captioning":
        arguments["use_java"] = not flags.no_java
        for name in _GENERATE_FLAGS:
            if getattr(flags, name) is not None:
                arguments[name] = getattr(flags, name)
    return arguments


def _parse(arguments):
    parser = ArgumentParser(prog="python -m official_coca.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, help="preset: directory, hf:// or kaggle://")
    parser.add_argument("--task", required=True, choices=EVALUATION_TASKS)
    parser.add_argument("--data", required=True, help="glob of TFRecord shards")
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time")
    parser.add_argument("--max_examples", type=int, help="use only the first examples")
    parser.add_argument("--class_names", help="zero_shot: text file with one class name a line")
    parser.add_argument("--templates", help='zero_shot: text file with one "... {} ..." a line')
    parser.add_argument("--sampler", help="captioning: greedy (default), beam, top_k, top_p, ...")
    parser.add_argument("--num_beams", type=int, help="captioning: beams of --sampler=beam")
    parser.add_argument("--max_length", type=int, help="captioning: longest caption in tokens")
    parser.add_argument("--min_length", type=int, help="captioning: shortest caption in tokens")
    parser.add_argument(
        "--no_java", action="store_true", help="captioning: do without Java's tokenizer and METEOR"
    )
    flags = parser.parse_args(arguments)
    for name in ("batch_size", "max_examples", "num_beams", "max_length"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise InvalidInputError(f"--{name}={value}: must be at least 1")
    for task, names in _TASK_FLAGS.items():
        for name in names:
            if task != flags.task and getattr(flags, name):
                raise InvalidInputError(f"--{name} is for --task={task}, not {flags.task}")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
