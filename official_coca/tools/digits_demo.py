"""The demo: a tiny CoCa learns handwritten digits, minutes on two cores, and shows what it learned.

    python -m official_coca.tools.digits_demo --output_dir=runs/demo

It runs from a checkout, since the builders of the data are in data/. A run that was stopped goes
on where it was; a changed recipe starts over. OUTPUT_DIR then holds

    metrics.json    scores on test images, none of whose handwriting was in training
    report.html     the same with pictures
    preset/         the model, for CoCa.from_preset
    saved_model/    the same for TensorFlow Serving, in saved_model/1
    data/           shards and vocabulary
    training/       checkpoints, logs, params.yaml
"""

import hashlib
import importlib
import json
import pathlib
import shutil
import sys
import time

from official_coca.program import ArgumentParser, run_program  # first: it quietens TensorFlow

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from official.core import exp_factory  # noqa: E402
from official.modeling import hyperparams  # noqa: E402

from official_coca import assembly, train  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.evaluate import evaluate, write_json  # noqa: E402
from official_coca.evaluation.embeddings import embed_texts  # noqa: E402
from official_coca.models.coca import CoCa  # noqa: E402
from official_coca.serving.saved_model import export_saved_model  # noqa: E402
from official_coca.tools.digits_report import write_report  # noqa: E402
from official_coca.training.progress import duration  # noqa: E402
from official_coca.training.training_log import TRAINING_LOG  # noqa: E402

EXPERIMENT = "coca_tiny_digits"
DATA_ARGUMENTS = {
    "shards": 4,
    "seed": 0,
    "train_labels": 20_000,
    "train_scenes": 20_000,
    "test_labels": 1_000,
    "test_scenes": 200,
    "vocabulary_size": 256,
}
_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_BUILDERS = ("make_digits", "digit_captions", "train_sentencepiece")
_ATTENTION_IMAGES = 6
_CAPTIONS_SHOWN = 8
_BATCH_SIZE = 100


def main(arguments):
    parser = ArgumentParser(
        prog="python -m official_coca.tools.digits_demo", description=__doc__
    )
    parser.add_argument("--output_dir", default="runs/demo", help="directory of the run")
    parser.add_argument(
        "--params_override", default="", help="changes to the experiment, as official_coca.train's"
    )
    flags = parser.parse_args(arguments)
    run_demo(pathlib.Path(flags.output_dir), flags.params_override)


def run_demo(output_dir, params_override="", data_arguments=None):
    """Runs the whole demo and returns what it wrote to metrics.json.

    Args:
        output_dir: directory of the run.
        params_override: changes to the experiment: a dict, or text as for --params_override.
        data_arguments: changes to `DATA_ARGUMENTS`.
    """
    started = time.monotonic()
    output_dir = pathlib.Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InvalidInputError(f"--output_dir={output_dir} is a file; name a directory")
    config = experiment(output_dir / "data", params_override)

    _say("1/5  the data: handwritten digits, coloured and placed")
    is_new = make_data(output_dir / "data", {**DATA_ARGUMENTS, **(data_arguments or {})})
    training_dir = output_dir / "training"
    if is_new or _recipe_changed(training_dir / "params.yaml", config):
        shutil.rmtree(training_dir, ignore_errors=True)

    _say("2/5  the training")
    result = train.run_experiment(config, "train", training_dir)

    _say("3/5  the preset and the SavedModel")
    result["model"].save_to_preset(output_dir / "preset")
    # From here on what was saved is measured, not what is in memory.
    model = CoCa.from_preset(str(output_dir / "preset"))
    shutil.rmtree(output_dir / "saved_model", ignore_errors=True)
    export_saved_model(model, output_dir / "saved_model")

    _say("4/5  the scores on test images")
    scores, details = _evaluate(model, config.task.validation_data)
    metrics = {
        "zero_shot_top1": scores["zero_shot"]["top1"],
        "caption_exact_match": scores["captioning"]["exact_match"],
        "retrieval_i2t_r1": scores["retrieval"]["i2t_r1"],
        "retrieval_t2i_r1": scores["retrieval"]["t2i_r1"],
        "train_seconds": round(result["seconds"], 1),
        "train_steps": result["step"],
        **{
            f"{name}_{metric}": value
            for name, metrics_of_task in scores.items()
            for metric, value in metrics_of_task.items()
        },
    }

    _say("5/5  the report")
    _report(output_dir, training_dir, model, metrics, details)
    write_json(output_dir / "metrics.json", metrics)
    _print_summary(output_dir, metrics, details["captioning"], time.monotonic() - started)
    return metrics


def experiment(data_dir, params_override=""):
    """The checked config of the demo's experiment, on the data in `data_dir`."""
    config = exp_factory.get_exp_config(EXPERIMENT)
    task = config.task
    task.model.tokenizer = str(data_dir / "vocabulary.model")
    for section in (*task.train_data.sources, *task.validation_data.evaluations):
        section.pattern = str(data_dir / pathlib.Path(section.pattern).name)
    for evaluation in task.validation_data.evaluations:
        if evaluation.class_names is not None:
            evaluation.class_names = str(data_dir / pathlib.Path(evaluation.class_names).name)
    config = hyperparams.override_params_dict(config, params_override, is_strict=True)
    config.validate()
    return config


def make_data(data_dir, arguments):
    """Writes shards and vocabulary unless they are there, made in the same way.

    Returns:
        Whether they were made anew.
    """
    if not (_CHECKOUT / "data" / "make_digits.py").exists():
        raise InvalidInputError(
            f"data/make_digits.py is not in {_CHECKOUT}: run the demo from a checkout"
        )
    recipe = {"arguments": arguments, "builders": _builders_digest()}
    recipe_file = data_dir / "recipe.json"
    if recipe_file.exists() and json.loads(recipe_file.read_text(encoding="utf-8")) == recipe:
        print(f"{data_dir} is there already")
        return False
    sys.path.insert(0, str(_CHECKOUT))
    try:
        make_digits = importlib.import_module("data.make_digits")
        vocabulary = importlib.import_module("data.train_sentencepiece")
    finally:
        sys.path.remove(str(_CHECKOUT))
    shutil.rmtree(data_dir, ignore_errors=True)
    arguments = dict(arguments)
    vocabulary_size = arguments.pop("vocabulary_size")
    make_digits.make_digits(data_dir, **arguments)
    captions = (data_dir / "captions.txt").read_text(encoding="utf-8").splitlines()
    # BPE makes whole words of the few there are (8.5 pieces a test caption); unigram, meant for
    # large corpora, leaves them in letters (18.9).
    vocabulary.train_sentencepiece(
        captions, data_dir / "vocabulary.model", vocabulary_size, model_type="bpe"
    )
    write_json(recipe_file, recipe)  # last: without it the data are not whole
    return True


def _builders_digest():
    digest = hashlib.sha256()
    for name in _BUILDERS:
        digest.update((_CHECKOUT / "data" / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _recipe_changed(params_file, config):
    if not params_file.exists():
        return False
    if yaml.safe_load(params_file.read_text(encoding="utf-8")) == config.as_dict():
        return False
    print(f"the recipe is not that of {params_file}: the training starts over")
    return True


def _evaluate(model, validation_data):
    """{task: {metric: value}} and {task: details with the "images" (N, H, W, 3)}."""
    scores, details = {}, {}
    for evaluation in validation_data.evaluations:
        arguments = {}
        if evaluation.task == "zero_shot":
            arguments = {
                "class_names": evaluation.class_names, "templates": evaluation.templates
            }  # fmt: skip
        scores[evaluation.task], details[evaluation.task] = evaluate(
            model, evaluation.task, evaluation.pattern, batch_size=_BATCH_SIZE, **arguments
        )
        details[evaluation.task]["images"] = _images(model, evaluation)
        details[evaluation.task]["templates"] = evaluation.templates
    return scores, details


def _images(model, evaluation):
    dataset = assembly.evaluation_images(
        evaluation.task, evaluation.pattern, model.preprocessor, _BATCH_SIZE
    )
    return np.concatenate(list(dataset))


def _report(output_dir, training_dir, model, metrics, details):
    zero_shot, captioning = details["zero_shot"], details["captioning"]
    names = zero_shot["class_names"]
    sentences = [t.format(name) for name in names for t in zero_shot["templates"]]
    images = captioning["images"][:_ATTENTION_IMAGES]
    attention = model.pooled_attention(images)
    write_report(
        output_dir / "report.html",
        metrics=metrics,
        log_csv=training_dir / TRAINING_LOG,
        zero_shot_details=zero_shot,
        retrieval_details=details["retrieval"],
        captioning_details=captioning,
        attention={
            "images": images,
            # (M, heads, N) of the one contrastive query.
            "weights": np.asarray(attention)[:, :, None, :],
            "grid": tuple(
                side // patch for side, patch in zip(model.image_size, model.patch_size)
            ),
            "titles": captioning["captions"][:_ATTENTION_IMAGES],
        },
        embeddings={
            "image_embeddings": zero_shot["image_embeddings"],
            "image_labels": zero_shot["labels"],
            "text_embeddings": embed_texts(model, sentences),
            "text_labels": np.repeat(np.arange(len(names)), len(zero_shot["templates"])),
            "class_names": names,
        },
        facts={
            "experiment": EXPERIMENT,
            "parameters": f"{model.count_params():,}",
            "steps": f"{metrics['train_steps']:,}",
        },
    )


def _say(text):
    print(f"\n=== {text}", flush=True)


def _print_summary(output_dir, metrics, captioning, seconds):
    rows = (
        ("names a handwritten digit", "zero_shot_top1"),
        ("describes a scene word for word", "caption_exact_match"),
        ("finds the caption of an image", "retrieval_i2t_r1"),
        ("finds the image of a caption", "retrieval_t2i_r1"),
    )
    trained = duration(metrics["train_seconds"])
    print(f"\nFrom nothing, in {trained} of training, on handwriting it has never seen, CoCa\n")
    for text, key in rows:
        bar = "█" * round(20 * metrics[key])
        print(f"  {text:<40} {metrics[key]:6.1%}  {bar:·<20}")
    print("\nWhat it says about the first test scenes:\n")
    for number in range(min(_CAPTIONS_SHOWN, len(captioning["captions"]))):
        caption, references = captioning["captions"][number], captioning["references"][number]
        if captioning["exact_match"][number]:
            print(f"  ✓ {caption}")
        else:
            print(f"  ✗ {caption}\n      it is: {references[0]}")
    print(
        f"\nOpen {output_dir / 'report.html'} to see it all ({duration(seconds)} in total).\n"
        f"The model: official_coca.CoCa.from_preset({str(output_dir / 'preset')!r})"
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
