"""Writes an open_clip checkpoint with random weights, in the peers' environment.

    PEERS_PYTHON -m benchmarks.side_by_side.make_checkpoint NAME DIRECTORY

NAME is a configuration of open_clip, or "small", one that a CPU does in a moment.
"""

import json
import pathlib
import sys

import open_clip
import safetensors.torch
import torch

from tests.fixtures.make_open_clip_checkpoints import PREPROCESS, make_model, move_off_init

SMALL = {
    "embed_dim": 256,
    "vision_cfg": {
        "image_size": 112,
        "layers": 4,
        "width": 256,
        "patch_size": 16,
        "attentional_pool": True,
        "attn_pooler_heads": 4,
        "attn_pooler_queries": 64,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 76,
        "vocab_size": 8192,
        "width": 256,
        "heads": 4,
        "layers": 4,
        "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {
        "context_length": 76,
        "vocab_size": 8192,
        "width": 256,
        "heads": 4,
        "layers": 4,
    },
    "custom_text": True,
}
_NOISE = 0.02  # moves every parameter off its initial value


def main():
    name, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    config = SMALL if name == "small" else open_clip.get_model_config(name)
    torch.manual_seed(0)
    model = make_model(config)
    move_off_init(model, 0, _NOISE)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    directory.mkdir(parents=True, exist_ok=True)
    description = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    safetensors.torch.save_file(state, directory / "open_clip_model.safetensors")
    (directory / "open_clip_config.json").write_text(json.dumps(description, indent=2) + "\n")


if __name__ == "__main__":
    main()
