"""Exports a preset as a versioned SavedModel for TF Serving, `hub.load` and TensorFlow.

    python -m official_coca.serving.export_saved_model --model=runs/demo/preset \\
        --export_dir=runs/saved_model [--signatures=encode_image,caption] \\
        [--max_caption_length=32] [--sampler=beam --num_beams=5] [--precision=bfloat16]

The first run writes EXPORT_DIR/1, the next EXPORT_DIR/2 and so on, each with a README.md that
describes its signatures.
"""

import os
import sys

# First: it quietens TensorFlow.
from official_coca.program import MODEL_VARIABLE, ArgumentParser, run_program, split_names
from official_coca.errors import InvalidInputError


def main(arguments):
    values = _parse(arguments)
    from official_coca.models.coca import CoCa
    from official_coca.serving.saved_model import export_saved_model

    options = {} if values.num_beams is None else {"num_beams": values.num_beams}
    model = CoCa.from_preset(values.model, load_weights=True)
    version = export_saved_model(
        model,
        values.export_dir,
        values.signatures,
        values.sampler,
        values.max_caption_length,
        values.precision,
        values.max_image_pixels,
        values.merge_rows,
        values.text_pair,
        **options,
    )
    print(f"wrote {version}; its signatures are described in {version / 'README.md'}")
    if model.dtype_policy.name != values.precision:
        print(
            f"it computes in {values.precision}, the model itself in {model.dtype_policy.name}: "
            "their outputs differ a little"
        )
    if not (version / "assets.extra").exists():
        print("without warm-up requests: they need pip install tensorflow-serving-api==2.20.0")


def _parse(arguments):
    parser = ArgumentParser(prog="python -m official_coca.serving.export_saved_model",
                            description=__doc__)  # fmt: skip
    model = os.environ.get(MODEL_VARIABLE)
    parser.add_argument(
        "--model",
        default=model,
        required=not model,
        help=f"a preset directory or handle; default: ${MODEL_VARIABLE}",
    )
    parser.add_argument("--export_dir", required=True, help="directory of the versions")
    parser.add_argument("--signatures", help="names with commas between them; all by default")
    parser.add_argument("--sampler", default="greedy", help="greedy, beam, top_k, top_p, ...")
    parser.add_argument("--num_beams", type=int, help="for --sampler=beam")
    parser.add_argument("--max_caption_length", type=int, help="longest caption in tokens")
    parser.add_argument(
        "--precision", default="float32", help="float32, or bfloat16 for half the size"
    )
    parser.add_argument(
        "--max_image_pixels", type=int, default=50_000_000, help="larger pictures are bad rows"
    )
    parser.add_argument(
        "--merge_rows",
        action="store_true",
        help="one pass over a whole batch, for accelerators, and for captions of many pictures by "
        "another sampler than greedy; a row's last bits then depend on the size of its batch",
    )
    parser.add_argument(
        "--text_pair",
        action="store_true",
        help="write the preprocessor and encoder of the TF-Hub text API too",
    )
    values = parser.parse_args(arguments)
    if not values.export_dir:
        raise InvalidInputError("--export_dir is empty; name a directory")
    if values.signatures is not None:
        values.signatures = split_names(values.signatures, "--signatures")
    return values


if __name__ == "__main__":
    sys.exit(run_program(main))
