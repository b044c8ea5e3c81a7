"""The jobs as open_clip does them, in an environment with torch and open_clip.

Inference runs under `torch.inference_mode`, training as open_clip's own program does: its
`CoCaLoss` and torch's AdamW.

Shapes: B batch, L tokens.
"""

import json
import os
import pathlib

import numpy as np
import open_clip
import safetensors.torch
import torch
from open_clip.loss import CoCaLoss
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

from benchmarks.side_by_side import inputs
from benchmarks.side_by_side.flops import CoCaFlops
from benchmarks.side_by_side.prepared_job import PreparedJob
from official_coca.models.open_clip_config import coca_arguments


class Checkpoint:
    """A directory in open_clip's layout, with the model in it.

    Args:
        directory: as a string.
    """

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        description = json.loads((directory / "open_clip_config.json").read_text())
        arguments = coca_arguments(description, str(directory))
        self.flops = CoCaFlops(arguments)
        self.vocabulary_size = arguments["vocabulary_size"]
        self.image_size = arguments["image_size"]
        self.pad_id = arguments["pad_token_id"]
        config = dict(description["model_cfg"])
        config.pop("custom_text", None)
        self.model = open_clip.CoCa(**config)
        state = safetensors.torch.load_file(directory / "open_clip_model.safetensors")
        self.model.load_state_dict(state)
        self.model.eval()

    def images(self, batch_size, seed=0):
        """(B, 3, H, W)."""
        images = inputs.random_images(batch_size, self.image_size, seed)
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def texts(self, batch_size, length):
        """(B, L)."""
        token_ids = inputs.full_texts(batch_size, length, self.vocabulary_size)
        return torch.from_numpy(token_ids).long()


def encode_image(job):
    checkpoint = Checkpoint(job["model"])
    images = checkpoint.images(job["batch_size"])

    @torch.inference_mode()
    def run():
        return {"image_embedding": checkpoint.model.encode_image(images).numpy()}

    flops = job["batch_size"] * checkpoint.flops.image()
    return PreparedJob(run, job["batch_size"], flops)


def encode_text(job):
    checkpoint = Checkpoint(job["model"])
    token_ids = checkpoint.texts(job["batch_size"], job["length"])

    @torch.inference_mode()
    def run():
        return {"text_embedding": checkpoint.model.encode_text(token_ids).numpy()}

    flops = job["batch_size"] * checkpoint.flops.text(job["length"])
    return PreparedJob(run, job["batch_size"], flops)


def zero_shot(job):
    checkpoint = Checkpoint(job["model"])
    model, flops = checkpoint.model, checkpoint.flops
    images = checkpoint.images(job["batch_size"])
    prompts = checkpoint.texts(job["classes"], job["length"])

    @torch.inference_mode()
    def run():
        scores = model.encode_image(images) @ model.encode_text(prompts).T
        return {"probabilities": (model.logit_scale.exp() * scores).softmax(dim=-1).numpy()}

    count = job["batch_size"] * flops.image() + job["classes"] * flops.text(job["length"])
    return PreparedJob(run, job["batch_size"], count)


def caption(job):
    checkpoint = Checkpoint(job["model"])
    images = checkpoint.images(job["batch_size"])
    beams, groups = job.get("beams", 1), job.get("beam_groups", 1)
    search = {"generation_type": "top_k", "top_k": 1}
    if beams > 1:
        search = {"generation_type": "beam_search", "num_beams": beams, "num_beam_groups": groups}
    length = job["length"]
    options = {
        "seq_len": length,
        "min_seq_len": length - 1,
        "sot_token_id": checkpoint.vocabulary_size - 2,
        "eos_token_id": checkpoint.vocabulary_size - 1,
        "fixed_output_length": True,
        **search,
    }

    @torch.inference_mode()
    def run():
        return {"token_ids": checkpoint.model.generate(images, **options).numpy()}

    flops = checkpoint.flops.captioning(job["batch_size"], length, beams // groups)
    return PreparedJob(run, job["batch_size"], flops)


def train_step(job):
    """One step each on fixed batches; texts are padded to `length`, as the tokenizer does it."""
    checkpoint = Checkpoint(job["model"])
    texts = [torch.from_numpy(text).long() for text in _training_texts(checkpoint, job)]
    images = [checkpoint.images(job["batch_size"], seed) for seed in range(len(texts))]
    model = checkpoint.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.004)  # Keras' own
    loss = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0, pad_id=checkpoint.pad_id)

    def step(image, text):
        optimizer.zero_grad()
        outputs = model(image, text)
        losses = loss(
            outputs["image_features"],
            outputs["text_features"],
            outputs["logits"],
            outputs["labels"],
            outputs["logit_scale"],
            output_dict=True,
        )
        sum(losses.values()).backward()
        optimizer.step()
        return losses

    def run():
        losses = [step(*batch) for batch in zip(images, texts)][0]
        return {
            # Half the sum of both directions, where the paper has the sum.
            "contrastive_loss": 2 * losses["contrastive_loss"].item(),
            "captioning_loss": losses["caption_loss"].item() / 2.0,
        }

    batch_size, length = job["batch_size"], job["length"]
    step_flops = checkpoint.flops.training_step(
        batch_size, length, length - 1, batch_size * (length - 1)
    )
    return PreparedJob(run, len(texts), len(texts) * step_flops)


class Pictures(torch.utils.data.Dataset):
    """Image files through a transform."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture)


def read_pictures(job):
    """open_clip's transform in torch's loader, with a process for each CPU that stays alive."""
    description = json.loads((pathlib.Path(job["model"]) / "open_clip_config.json").read_text())
    options = dict(description["preprocess_cfg"])
    transform = open_clip.image_transform(
        description["model_cfg"]["vision_cfg"]["image_size"],
        is_train=False,
        mean=options["mean"],
        std=options["std"],
        interpolation=options["interpolation"],
        resize_mode=options["resize_mode"],
    )
    loader = torch.utils.data.DataLoader(
        Pictures(job["paths"], transform),
        batch_size=job["batch_size"],
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
    )

    def run():
        first = None
        for batch in loader:
            first = batch if first is None else first
        return {"pixels": first[0].permute(1, 2, 0)[::8, ::8].numpy()}

    return PreparedJob(run, len(job["paths"]))


JOBS = {
    "encode_image": encode_image,
    "encode_text": encode_text,
    "zero_shot": zero_shot,
    "caption": caption,
    "train_step": train_step,
    "read_pictures": read_pictures,
    "read_picture_files": read_pictures,
}


def _training_texts(checkpoint, job):
    """A batch of token ids (B, L) for each step of a run."""
    vocabulary_size = checkpoint.vocabulary_size
    if "captions_dir" not in job:
        return [inputs.full_texts(job["batch_size"], job["length"], vocabulary_size)]
    captions = inputs.real_captions(job["captions_dir"], job["batch_size"] * job["num_batches"])
    tokenizer = SimpleTokenizer()
    tokens = [tokenizer.encode(caption) for caption in captions]
    framed = inputs.framed_texts(tokens, job["length"], vocabulary_size)
    return np.split(framed, job["num_batches"])
