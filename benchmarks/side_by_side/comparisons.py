"""What is compared with what: the jobs of `benchmarks/run.py`, by name.

A job is a dict that travels to a worker: "kind" names a function of `our_jobs` and of the peers'
job files, the rest are its arguments.
"""

import dataclasses

OURS, OPEN_CLIP, LUCIDRAINS = "official_coca", "open_clip", "lucidrains"

_TEXT_LENGTH = 76  # positions of open_clip's CoCas
_CAPTION_LENGTH = 30  # open_clip's seq_len, BOS and EOS included
_CAPTION_BATCHES = 4  # of real captions, in turn
_LENGTH_MULTIPLE = 8  # real captions are padded up to a multiple of it
_LOSS_TOLERANCE = 2e-3  # of losses of about 10 nats
_PAPER_LENGTH = 64  # tokens of a caption in the paper's ablations

# The paper's ablations: its Base encoder with half the decoder, against as deep a text tower.
_ABLATION_SIDES = {
    "dual encoder": {
        "unimodal_num_layers": 12,
        "multimodal_num_layers": 0,
        "captioning_loss_weight": 0.0,
        "pooler": "parallel",  # its one query reads the encoder: no generative pooler
    },
    "CoCa": {"unimodal_num_layers": 6, "multimodal_num_layers": 6},
}

# The paper's CoCa-Base, in the words of our constructor, which the peers' job files translate.
_BASE = {
    "vocabulary_size": 64_000,
    "image_size": 288,
    "patch_size": 18,
    "image_num_layers": 12,
    "image_hidden_dim": 768,
    "image_num_heads": 12,
    "image_mlp_dim": 3072,
    "num_queries": 256,
    "unimodal_num_layers": 12,
    "multimodal_num_layers": 12,
    "text_hidden_dim": 768,
    "text_num_heads": 12,
    "text_mlp_dim": 3072,
    "max_length": _PAPER_LENGTH,
}
_SMALL = {
    **_BASE,
    "vocabulary_size": 8192,
    "image_size": 112,
    "patch_size": 16,
    "image_num_layers": 4,
    "image_hidden_dim": 256,
    "image_num_heads": 4,
    "image_mlp_dim": 1024,
    "num_queries": 64,
    "unimodal_num_layers": 4,
    "multimodal_num_layers": 4,
    "text_hidden_dim": 256,
    "text_num_heads": 4,
    "text_mlp_dim": 1024,
}


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One side of a comparison.

    Attributes:
        label: what tables call it.
        worker: OURS, OPEN_CLIP or LUCIDRAINS.
        job: what it does.
    """

    label: str
    worker: str
    job: dict


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Contestants that do the same in turns; the first is measured by the second.

    Attributes:
        name: as in `--only`.
        model: what tables call the model.
        contestants: two, or one that has no peer.
        unit: what an item is.
        cold: whether each measurement takes a new process, from its start to the first result.
        tolerance: largest difference of equal outputs; None where they are not compared.
    """

    name: str
    model: str
    contestants: tuple
    unit: str = "image"
    cold: bool = False
    tolerance: float | None = 1e-4

    @property
    def reads_pictures(self):
        return any("paths" in contestant.job for contestant in self.contestants)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags decide about the jobs.

    Attributes:
        peers: whether the peers take part.
        overrides: constructor arguments of our model to replace.
        jit_compile: of our training steps, True, False or "auto".
        captions_dir: folder of Flickr8k, or None: no jobs on real captions.
        picture_paths: JPEG files.
        batch_size: of training steps.
        memory_batch_sizes: of the table of memory against batch.
    """

    peers: bool
    overrides: dict
    jit_compile: object
    captions_dir: str | None
    picture_paths: tuple
    batch_size: int = 8
    memory_batch_sizes: tuple = (1, 2, 4, 8, 16)


def for_checkpoint(model, directory, settings, positions=_TEXT_LENGTH):
    """Comparisons with open_clip on one of its checkpoints.

    Args:
        model: what tables call it.
        directory: of the checkpoint, a string.
        settings: `Settings`.
        positions: tokens that its texts can have.
    """
    text_length = min(_TEXT_LENGTH, positions)
    caption_length = min(_CAPTION_LENGTH, positions)

    def compare(name, unit="image", own=(), tolerance=1e-4, **job):
        job = {"model": directory, **job}
        own = {"overrides": settings.overrides, **dict(own)}
        return _compare(name, model, settings, job, own, OPEN_CLIP, unit, tolerance)

    def train(name, batch_size=settings.batch_size, **job):
        own = {"jit_compile": settings.jit_compile}
        job = {"kind": "train_step", "batch_size": batch_size, "length": text_length, **job}
        return compare(name, "step", own, _LOSS_TOLERANCE, **job)

    captions = {"kind": "caption", "length": caption_length}
    for batch_size in (1, 8, 32):
        yield compare(f"encode_image_{batch_size}", kind="encode_image", batch_size=batch_size)
    text = {"kind": "encode_text", "length": text_length}
    for batch_size in (1, 32):
        yield compare(f"encode_text_{batch_size}", "text", batch_size=batch_size, **text)
    yield compare(
        "zero_shot_8", kind="zero_shot", batch_size=8, classes=10, length=text_length
    )
    for batch_size in (1, 8):
        yield compare(f"caption_greedy_{batch_size}", batch_size=batch_size, **captions)
        for groups in (1, 3):
            yield compare(
                f"caption_beam6_groups{groups}_{batch_size}",
                batch_size=batch_size,
                beams=6,
                beam_groups=groups,
                **captions,
            )
    yield train(f"train_step_fixed_{settings.batch_size}")
    if settings.captions_dir:
        real = {
            "captions_dir": settings.captions_dir,
            "num_batches": _CAPTION_BATCHES,
            "length_multiple": _LENGTH_MULTIPLE,
        }
        yield train(f"train_step_captions_{settings.batch_size}", **real)
    pictures = {"paths": [str(path) for path in settings.picture_paths], "batch_size": 32}
    for kind in ("read_pictures", "read_picture_files"):
        yield compare(f"input_{kind.removeprefix('read_')}", kind=kind, **pictures)
    first = compare("first_result", batch_size=1, **captions)
    yield dataclasses.replace(first, cold=True)
    yield dataclasses.replace(train("first_training_step"), cold=True)
    for batch_size in settings.memory_batch_sizes:
        yield train(f"memory_{batch_size}", batch_size=batch_size)


def without_checkpoint(settings, small):
    """Comparisons on architectures with initial weights: the paper's ablation, lucidrains' CoCa.

    Args:
        settings: `Settings`.
        small: whether to take a small architecture instead of the paper's Base.
    """
    model, sizes = ("small", _SMALL) if small else ("coca_base", _BASE)
    shape = {"kind": "train_step", "batch_size": settings.batch_size, "length": _PAPER_LENGTH}
    own = {"jit_compile": settings.jit_compile}
    real = {
        "captions_dir": settings.captions_dir,
        "num_batches": _CAPTION_BATCHES,
        "length_multiple": _LENGTH_MULTIPLE,
    }
    for suffix, extra in (("", {}), ("_captions", real)):
        if extra and not settings.captions_dir:
            continue
        job = {**shape, **own, **extra, "model": "coca_base"}
        contestants = tuple(
            Contestant(
                label, OURS, {**job, "overrides": {**sizes, **settings.overrides, **side}}
            )
            for label, side in _ABLATION_SIDES.items()
        )
        name = f"ablation_step{suffix}"
        yield Comparison(name, f"paper_{model}", contestants, "step", tolerance=None)
    job = {**shape, "model": "coca_base", "overrides": sizes}
    own_job = {**own, "overrides": {**sizes, **settings.overrides}}
    name = "train_step_lucidrains"
    yield _compare(name, f"paper_{model}", settings, job, own_job, LUCIDRAINS, "step", None)


def _compare(name, model, settings, job, own, peer, unit, tolerance):
    contestants = [Contestant(OURS, OURS, {**job, **own})]
    if settings.peers:
        contestants.append(Contestant(peer, peer, job))
    return Comparison(name, model, tuple(contestants), unit, tolerance=tolerance)
