"""A training step of lucidrains' CoCa-pytorch with a Vision Transformer of his vit-pytorch.

Its blocks differ from the paper's: one key and value head for all queries, gated MLPs beside the
attention, a second MLP in the multimodal layers, one token table for input and output. So its
operations are counted here, and differ from ours at equal widths and depths.

Shapes: B batch, L tokens.
"""

import torch
from coca_pytorch.coca_pytorch import CoCa
from vit_pytorch.extractor import Extractor
from vit_pytorch.simple_vit import SimpleViT

from benchmarks.side_by_side import flops, inputs
from benchmarks.side_by_side.prepared_job import PreparedJob

_MLP_RATIO = 4


def train_step(job):
    """One step on a fixed batch without padding."""
    sizes = job["overrides"]
    width, heads = sizes["text_hidden_dim"], sizes["text_num_heads"]
    vision = SimpleViT(
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        num_classes=1,
        dim=sizes["image_hidden_dim"],
        depth=sizes["image_num_layers"],
        heads=sizes["image_num_heads"],
        mlp_dim=sizes["image_mlp_dim"],
        dim_head=sizes["image_hidden_dim"] // sizes["image_num_heads"],
    )
    torch.manual_seed(0)
    model = CoCa(
        dim=width,
        img_encoder=Extractor(vision, return_embeddings_only=True, detach=False),
        image_dim=sizes["image_hidden_dim"],
        num_tokens=sizes["vocabulary_size"],
        unimodal_depth=sizes["unimodal_num_layers"],
        multimodal_depth=sizes["multimodal_num_layers"],
        num_img_queries=sizes["num_queries"],
        dim_head=width // heads,
        heads=heads,
        ff_mult=_MLP_RATIO,
        caption_loss_weight=2.0,
        contrastive_loss_weight=1.0,
    )
    used = [value for name, value in model.named_parameters() if "linear_head" not in name]
    optimizer = torch.optim.AdamW(used, lr=1e-4, weight_decay=0.004)
    batch_size, length = job["batch_size"], job["length"]
    images = inputs.random_images(batch_size, sizes["image_size"])
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    # One more than it is to predict from: it cuts inputs and labels out of the same row.
    texts = inputs.full_texts(batch_size, length + 1, sizes["vocabulary_size"])
    texts = torch.from_numpy(texts).long()

    def run():
        optimizer.zero_grad()
        loss = model(texts, images, return_loss=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    return PreparedJob(run, 1, flops.TRAINING * batch_size * _forward(sizes, length))


def _forward(sizes, length):
    """Operations of a forward pass of one pair."""
    width, head = sizes["text_hidden_dim"], sizes["text_hidden_dim"] // sizes["text_num_heads"]
    image_width, queries = sizes["image_hidden_dim"], sizes["num_queries"] + 1
    patches = (sizes["image_size"] // sizes["patch_size"]) ** 2
    image_block = flops.self_attention(patches, image_width)
    image_block += flops.mlp(patches, image_width, sizes["image_mlp_dim"])
    image = flops.product(patches, 3 * sizes["patch_size"] ** 2, image_width)
    image += sizes["image_num_layers"] * image_block
    image += _cross_attention(queries, patches, width, image_width, head)
    tokens = length + 1
    text = sizes["unimodal_num_layers"] * _block(tokens, width, head)
    decoder_layer = (
        _block(length, width, head)
        + _cross_attention(length, queries - 1, width, width, head)
        + _gated_mlp(length, width)
    )
    decoder = sizes["multimodal_num_layers"] * decoder_layer
    return image + text + decoder + flops.product(length, width, sizes["vocabulary_size"])


def _block(tokens, width, head):
    projections = flops.product(tokens, width, 2 * width + 2 * head)
    return projections + flops.attention(tokens, tokens, width) + _gated_mlp(tokens, width)


def _cross_attention(tokens, context, width, context_width, head):
    projections = flops.product(tokens, width, 2 * width)
    projections += flops.product(context, context_width, 2 * head)
    return projections + flops.attention(tokens, context, width)


def _gated_mlp(tokens, width):
    return flops.product(tokens, width, 3 * _MLP_RATIO * width)
