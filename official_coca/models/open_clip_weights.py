"""open_clip's tensors into a CoCa.

Names on the left of the mapping are open_clip's; torch keeps matrices as (outputs, inputs), Keras
as (inputs, outputs). Layer scales, which open_clip may have on residual branches, are multiplied
into the projection before them: the numbers are the same, and there is one parameter less to train.

Shapes: P x P pixels of a patch, N patches, D width of a tower, C width of a context.
"""

import numpy as np

from official_coca.saving.array_copies import assign_copies

# Buffers that older releases of open_clip saved with the weights.
_BUFFERS = ("attn_mask", "position_ids")


def assign_weights(model, tensors):
    """Fills a CoCa with the tensors of an open_clip checkpoint.

    Args:
        model: a `CoCa` with the arguments that `coca_arguments` gives.
        tensors: a `NamedTensors`.

    Raises:
        InvalidInputError: a tensor is missing, unknown or of another shape.
    """
    tensors.ignore([name for name in tensors.names() if name.endswith(_BUFFERS)])
    assign_copies(_values(model, tensors))
    tensors.check_all_taken()


def _values(model, tensors):
    """Yields each variable with its array, as the functions that follow do for parts of the model."""
    yield from _image_encoder(model, tensors)
    yield from _poolers(model, tensors)
    yield from _unimodal_decoder(model, tensors)
    yield from _multimodal_decoder(model, tensors)
    scale_shape = tensors.shape("logit_scale") if "logit_scale" in tensors else ()
    scale = tensors.take("logit_scale", scale_shape if scale_shape == (1,) else ())
    yield model.log_temperature, -scale.reshape(())


def _image_encoder(model, tensors):
    encoder = model.image_encoder
    embed = encoder.patch_embed
    patch_height, patch_width = embed.patch_size
    width = encoder.hidden_dim
    kernel = tensors.take("visual.conv1.weight", (width, 3, patch_height, patch_width))
    yield embed.projection.kernel, kernel.transpose(2, 3, 1, 0).reshape(-1, width)
    rows, columns = embed.grid_size
    positions = tensors.take("visual.positional_embedding", (1 + rows * columns, width))
    yield embed.class_position, positions[0]
    yield embed.position_embedding, positions[1:].reshape(rows, columns, width)
    yield embed.class_token, tensors.take("visual.class_embedding", (width,))
    if encoder.embedding_norm is not None:
        yield from _norm(encoder.embedding_norm, tensors, "visual.ln_pre")
    for index, block in enumerate(encoder.blocks):
        yield from _block(block, tensors, f"visual.transformer.resblocks.{index}")
    if encoder.final_norm is not None:
        yield from _norm(encoder.final_norm, tensors, "visual.ln_post")


def _poolers(model, tensors):
    for pooler, name in (
        (model.generative_pooler, "visual.attn_pool"),
        (model.contrastive_pooler, "visual.attn_pool_contrastive"),
    ):
        if pooler is None:
            continue
        yield pooler.query, tensors.take(f"{name}.query", pooler.query.shape)
        yield from _norm(pooler.query_norm, tensors, f"{name}.ln_q")
        yield from _norm(pooler.feature_norm, tensors, f"{name}.ln_k")
        yield from _cross_attention(pooler.attend, tensors, f"{name}.attn")
        if pooler.normalize_output:
            yield from _norm(pooler.output_norm, tensors, "visual.ln_post")
    if model.image_projection is not None:
        kernel = model.image_projection.kernel
        yield kernel, tensors.take("visual.proj", kernel.shape)


def _unimodal_decoder(model, tensors):
    decoder = model.unimodal_decoder
    embed = decoder.text_embed
    for variable, name in (
        (embed.token_embedding, "text.token_embedding.weight"),
        (embed.position_embedding, "text.positional_embedding"),
        (decoder.class_token, "text.cls_emb"),
    ):
        yield variable, tensors.take(name, variable.shape)
    for index, block in enumerate(decoder.blocks):
        yield from _block(block, tensors, f"text.transformer.resblocks.{index}")
    yield from _norm(decoder.final_norm, tensors, "text.ln_final")
    if model.text_projection is not None:
        kernel = model.text_projection.kernel
        yield kernel, tensors.take("text.text_projection", kernel.shape)


def _multimodal_decoder(model, tensors):
    decoder = model.multimodal_decoder
    for index in range(decoder.num_layers):
        self_block, cross_block = decoder.blocks[2 * index : 2 * index + 2]
        yield from _block(self_block, tensors, f"text_decoder.resblocks.{index}")
        yield from _block(cross_block, tensors, f"text_decoder.cross_attn.{index}")
    yield from _norm(decoder.final_norm, tensors, "text_decoder.ln_final")
    projection = decoder.vocabulary_projection
    yield projection, tensors.take("text_decoder.text_projection", projection.shape)


def _block(block, tensors, name):
    """A residual block with self-attention, or with cross-attention, and an MLP."""
    attention_scale = _layer_scale(tensors, f"{name}.ls_1", block.mlp_output.kernel.shape[1])
    if block.self_attention:
        yield from _norm(block.self_norm, tensors, f"{name}.ln_1")
        yield from _self_attention(block.self_attend, tensors, f"{name}.attn", attention_scale)
    else:
        yield from _norm(block.cross_norm, tensors, f"{name}.ln_1")
        yield from _norm(block.context_norm, tensors, f"{name}.ln_1_kv")
        yield from _cross_attention(block.cross_attend, tensors, f"{name}.attn", attention_scale)
    yield from _norm(block.mlp_norm, tensors, f"{name}.ln_2")
    yield from _linear(block.mlp_hidden, tensors, f"{name}.mlp.c_fc")
    mlp_scale = _layer_scale(tensors, f"{name}.ls_2", block.mlp_output.kernel.shape[1])
    yield from _linear(block.mlp_output, tensors, f"{name}.mlp.c_proj", mlp_scale)


def _layer_scale(tensors, name, width):
    return tensors.take(f"{name}.gamma", (width,)) if f"{name}.gamma" in tensors else None


def _self_attention(layer, tensors, name, scale):
    kernel = tensors.take(f"{name}.in_proj_weight", (3 * layer.width, layer.width))
    yield layer.query_key_value.kernel, kernel.T
    yield layer.query_key_value.bias, tensors.take(f"{name}.in_proj_bias", (3 * layer.width,))
    yield from _linear(layer.output_projection, tensors, f"{name}.out_proj", scale)


def _cross_attention(layer, tensors, name, scale=None):
    """torch keeps one matrix where queries and context are equally wide, and three elsewhere."""
    width, context_width = layer.width, layer.key_value.kernel.shape[0]
    if width == context_width:
        kernel = tensors.take(f"{name}.in_proj_weight", (3 * width, width))
        query, key_value = kernel[:width], kernel[width:]
    else:
        query = tensors.take(f"{name}.q_proj_weight", (width, width))
        key_value = np.concatenate(
            [
                tensors.take(f"{name}.{part}_proj_weight", (width, context_width))
                for part in ("k", "v")
            ]
        )
    bias = tensors.take(f"{name}.in_proj_bias", (3 * width,))
    yield layer.query.kernel, query.T
    yield layer.query.bias, bias[:width]
    yield layer.key_value.kernel, key_value.T
    yield layer.key_value.bias, bias[width:]
    yield from _linear(layer.output_projection, tensors, f"{name}.out_proj", scale)


def _linear(layer, tensors, name, scale=None):
    kernel = tensors.take(f"{name}.weight", layer.kernel.shape[::-1])
    bias = tensors.take(f"{name}.bias", layer.bias.shape)
    if scale is not None:
        kernel, bias = kernel * scale[:, None], bias * scale
    yield layer.kernel, kernel.T
    yield layer.bias, bias


def _norm(layer, tensors, name):
    yield layer.gamma, tensors.take(f"{name}.weight", layer.gamma.shape)
    yield layer.beta, tensors.take(f"{name}.bias", layer.beta.shape)
