"""Exports a preset as a SavedModel for TF Serving and `hub.load`.

    python -m official_coca.serving.export_saved_model --model=runs/demo/preset \\
        --export_dir=runs/saved_model [--sampler=beam] [--num_beams=5] [--max_length=32]
"""

import sys

from official_coca.program import ArgumentParser, run_program  # first: it quietens TensorFlow


def main(arguments):
    values = _parse(arguments)
    from official_coca.models.coca import CoCa
    from official_coca.serving.export_module import export_saved_model

    options = {} if values.num_beams is None else {"num_beams": values.num_beams}
    model = CoCa.from_preset(values.model, load_weights=True)
    export_saved_model(
        model, values.export_dir, values.sampler, max_length=values.max_length, **options
    )
    print(f"wrote {values.export_dir}: encode_image, encode_text, generate")


def _parse(arguments):
    parser = ArgumentParser(prog="python -m official_coca.serving.export_saved_model",
                            description=__doc__)  # fmt: skip
    parser.add_argument("--model", required=True, help="a preset directory or handle")
    parser.add_argument("--export_dir", required=True, help="directory of the SavedModel")
    parser.add_argument("--sampler", default="greedy", help="greedy, beam, top_k, top_p, ...")
    parser.add_argument("--num_beams", type=int, help="for --sampler=beam")
    parser.add_argument("--max_length", type=int, help="longest caption in tokens")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main))
