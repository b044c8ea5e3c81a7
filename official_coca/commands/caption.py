"""Writes captions for images.

    coca caption photos/ --sampler=beam --num_beams=5 --json > captions.jsonl

prints `path<TAB>caption` for every image, in order and as soon as it is done. With --json every
line is an object {"image": path, "caption": text, "score": number}; the score is the
log-probability of the caption, as the sampler counts it. An image that cannot be used is named on
stderr, and with --json also as {"image": path, "error": reason}; the others go on, and the exit
code is 1.
"""

import sys

from official_coca.commands import image_files, model_flag, results
from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser, run_program, text_argument

# Flag: the option of the sampler that it sets, and the sampler it calls for when none is named.
_SAMPLER_FLAGS = {
    "num_beams": ("num_beams", "beam"),
    "length_penalty": ("length_penalty", "beam"),
    "top_p": ("p", "top_p"),
    "top_k": ("k", "top_k"),
    "temperature": ("temperature", None),
    "repetition_penalty": ("repetition_penalty", None),
}


def main(arguments):
    flags = _parse(arguments)
    files = image_files.find_images(flags.images)
    if image_files.has_candidates(files):
        captions = _captions(files, flags)
    else:
        captions = image_files.unusable(files)
    with results.Results(len(files), flags.json) as printed:
        for file, outcome, problem in captions:
            if problem:
                printed.skip(file.path, problem)
            else:
                caption, score = outcome
                record = {"image": file.path, "caption": caption, "score": score}
                printed.add(record, [file.path, caption])
    return printed.exit_code()


def _captions(files, flags):
    from official_coca.commands.image_stream import run_on_images
    from official_coca.generation.generate import get_sampler

    sampler, options = _sampler(flags)
    get_sampler(sampler)  # An unknown name is told before the model is loaded.
    model = model_flag.load_model(
        model_flag.chosen_model(flags.model, model_flag.CAPTIONING_MODEL)
    )
    num_batches = 0

    def predict(images):
        nonlocal num_batches
        captions, scores = model.generate(
            images,
            prompt=flags.prompt,
            sampler=sampler,
            max_length=flags.max_length,
            min_length=flags.min_length,
            seed=None if flags.seed is None else (flags.seed + num_batches) % 2**31,
            return_scores=True,
            **options,
        )
        num_batches += 1
        return [(caption, float(score)) for caption, score in zip(captions, scores)]

    yield from run_on_images(model, files, predict, flags.batch_size)


def _sampler(flags):
    """The name of the sampler and its options, from whichever flags were given."""
    sampler, options = flags.sampler, {}
    for flag, (option, implied) in _SAMPLER_FLAGS.items():
        if getattr(flags, flag) is not None:
            options[option] = getattr(flags, flag)
            sampler = sampler or implied
    return sampler or "greedy", options


def _parse(arguments):
    parser = ArgumentParser(prog="coca caption", description=__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=image_files.HELP)
    model_flag.add_model_flag(parser, model_flag.ELSE.format(model_flag.CAPTIONING_MODEL))
    parser.add_argument(
        "--prompt", type=text_argument, help="beginning that every caption continues"
    )
    parser.add_argument(
        "--sampler",
        help="greedy (default), beam, top_k, top_p, ...; the options of one choose it too",
    )
    parser.add_argument("--num_beams", type=int, help="beam: hypotheses of an image")
    parser.add_argument("--length_penalty", type=float, help="beam: above 0 favours long captions")
    parser.add_argument("--top_k", type=int, help="draw from the K likeliest tokens")
    parser.add_argument("--top_p", type=float, help="draw from the likeliest tokens that sum to P")
    parser.add_argument("--temperature", type=float, help="of drawing: above 1 is more varied")
    parser.add_argument(
        "--repetition_penalty", type=float, help="above 1 makes repeated tokens less likely"
    )
    parser.add_argument("--max_length", type=int, help="longest caption in tokens, ends included")
    parser.add_argument("--min_length", type=int, default=0, help="shortest caption in tokens")
    parser.add_argument("--seed", type=int, help="of drawing; the same seed draws the same again")
    parser.add_argument("--batch_size", type=int, default=16, help="images at a time (16)")
    parser.add_argument("--json", action="store_true", help=results.HELP)
    flags = parser.parse_intermixed_args(arguments)
    for name, least in (("batch_size", 1), ("max_length", 2), ("min_length", 0), ("seed", 0)):
        value = getattr(flags, name)
        if value is not None and value < least:
            raise InvalidInputError(f"--{name}={value}: must be at least {least}")
    return flags


if __name__ == "__main__":
    sys.exit(run_program(main))
