"""open_clip's description of a CoCa as the arguments of ours.

The keys and their defaults are those of `CLIPVisionCfg`, `CLIPTextCfg` and `MultimodalCfg` in
open_clip 3.3.0, and of the later configurations `coca2_*` (cascade pooler, corrected mask).
"""

from official_coca.errors import InvalidInputError

CONFIG_FILE = "open_clip_config.json"
# The start and end tokens are the last two of CLIP's vocabulary.
_NUM_SPECIAL_TOKENS = 2

# What the model is made of; a key that stands in none of these is refused.
_VISION_KEYS = {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
    "image_size": 224,
    "attentional_pool": False,
    "attn_pooler_queries": 256,
    "attn_pooler_heads": 8,
    "no_ln_pre": False,
    "ls_init_value": None,
}
_TEXT_KEYS = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
    "pad_id": 0,
    "proj_type": "linear",
    "correct_cls_mask": False,
    "ls_init_value": None,
}
_MULTIMODAL_KEYS = {"width": 512, "heads": 8, "layers": 12, "ls_init_value": None}

# Keys that open_clip's CoCa never reads, or that matter to its training only.
_UNREAD_VISION = {"output_tokens", "patch_dropout", "pos_embed_type"}
_UNREAD_TEXT = {"output_tokens", "eos_id", "bos_id", "pool_type", "hf_tokenizer_name"}
_UNREAD_TEXT |= {"tokenizer_kwargs", "tokenizer_mode", "final_ln_after_pool"}
_UNREAD_MULTIMODAL = {"context_length", "vocab_size", "mlp_ratio", "dim_head", "n_queries"}
_UNREAD_MULTIMODAL |= {"attn_pooler_heads", *_TEXT_KEYS, *_UNREAD_TEXT, "embed_cls"}
_UNREAD_MODEL = {"custom_text", "init_logit_scale", "nonscalar_logit_scale"}


def is_coca(config):
    """Whether a parsed `open_clip_config.json` describes a CoCa."""
    model = config.get("model_cfg", config) if isinstance(config, dict) else {}
    return isinstance(model, dict) and "multimodal_cfg" in model


def coca_arguments(config, origin):
    """Constructor arguments of `CoCa` for a parsed `open_clip_config.json`.

    Args:
        config: the file's content; its "model_cfg" alone will do.
        origin: what messages call it.

    Raises:
        InvalidInputError: it describes no CoCa, or one with a part that is not built here; the
            message names the key.
    """
    model = config.get("model_cfg", config) if isinstance(config, dict) else None
    if not is_coca(config):
        raise InvalidInputError(
            f"{origin} describes no CoCa: it has no multimodal_cfg; give the checkpoint of a CoCa"
        )
    vision = _section(
        model, "vision_cfg", _VISION_KEYS, _UNREAD_VISION, {"pool_type": "tok"}, origin
    )
    text = _section(
        model, "text_cfg", _TEXT_KEYS, _UNREAD_TEXT, {"embed_cls": True, "text_arch": "clip"}, origin
    )
    multimodal = _section(model, "multimodal_cfg", _MULTIMODAL_KEYS, _UNREAD_MULTIMODAL, {}, origin)
    _check_keys(model, {"embed_dim", "quick_gelu", "pad_id"}, _UNREAD_MODEL, origin, "")
    if not isinstance(model.get("embed_dim"), int):
        raise InvalidInputError(f"{origin} has no embed_dim, the width of its embeddings")
    _check_sizes(vision, text, multimodal, origin)
    arguments = {
        **_image_arguments(vision),
        **_pooler_arguments(vision, text, model["embed_dim"], origin),
        **_text_arguments(text, multimodal, model["embed_dim"], origin),
        "activation": "quick_gelu" if model.get("quick_gelu") else "gelu",
        "layer_norm_epsilon": 1e-5,  # of torch's LayerNorm
        "attention_bias": True,
        "normalize_context": True,
        "separate_cross_attention_mlp": True,
        "open_clip_decoding": True,
    }
    arguments["pad_token_id"] = model.get("pad_id", text["pad_id"])
    return arguments


def _image_arguments(vision):
    return {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "image_num_layers": vision["layers"],
        "image_hidden_dim": vision["width"],
        "image_num_heads": vision["width"] // vision["head_width"],
        "image_mlp_dim": int(vision["width"] * vision["mlp_ratio"]),
        "image_pre_norm": not vision["no_ln_pre"],
        "use_class_token": True,
        "patch_bias": False,
    }


def _pooler_arguments(vision, text, embed_dim, origin):
    """How features become the contrastive embedding and the decoder's image tokens."""
    pool = vision["attentional_pool"]
    shared = {
        "num_queries": vision["attn_pooler_queries"],
        "pooler_num_heads": vision["attn_pooler_heads"],
    }
    if pool in ("cascade", "parallel"):
        # The norm stands before both poolers, which project to the embedding themselves.
        return {**shared, "pooler": pool, "image_post_norm": True, "normalize_pooled": False}
    if pool is True:
        return {**shared, "pooler": "shared", "project_image": True}
    if not pool:
        return {"pooler": "none", "image_post_norm": True, "project_image": True}
    raise InvalidInputError(
        f"{origin}: vision_cfg.attentional_pool={pool!r} is unknown; known are true, false, "
        "'cascade' and 'parallel'"
    )


def _text_arguments(text, multimodal, embed_dim, origin):
    return {
        "vocabulary_size": text["vocab_size"],
        "max_length": text["context_length"],
        "unimodal_num_layers": text["layers"],
        "text_hidden_dim": text["width"],
        "text_num_heads": text["heads"],
        "text_mlp_dim": int(text["width"] * text["mlp_ratio"]),
        "embedding_dim": embed_dim if text["proj_type"] != "none" else None,
        "multimodal_num_layers": multimodal["layers"],
        "multimodal_num_heads": multimodal["heads"],
        "multimodal_mlp_dim": 4 * multimodal["width"],  # open_clip gives its decoder no other
        "class_token_mask": "paper" if text["correct_cls_mask"] else "open_clip",
        "class_token_position": True,
        "bos_token_id": text["vocab_size"] - _NUM_SPECIAL_TOKENS,
        "eos_token_id": text["vocab_size"] - _NUM_SPECIAL_TOKENS + 1,
    }


def _section(model, name, known, unread, required, origin):
    """A part of the configuration with open_clip's defaults in the gaps."""
    section = model.get(name)
    if not isinstance(section, dict):
        raise InvalidInputError(f"{origin} has no {name}, the description of one of its towers")
    _check_keys(section, {*known, *required}, unread, origin, f"{name}.")
    for key, value in required.items():
        default = False if key == "embed_cls" else value
        if section.get(key, default) != value:
            raise InvalidInputError(
                f"{origin}: {name}.{key}={section.get(key, default)!r} is not supported, only "
                f"{value!r}; CoCas of that kind cannot be loaded"
            )
    return {**known, **{key: section[key] for key in known if key in section}}


def _check_keys(section, known, unread, origin, prefix):
    sections = {"vision_cfg", "text_cfg", "multimodal_cfg"}
    for key, value in section.items():
        if key in known or key in unread or (not prefix and key in sections):
            continue
        # A feature that is switched off asks for nothing.
        if value in (None, False, "", {}, []):
            continue
        raise InvalidInputError(
            f"{origin}: {prefix}{key}={value!r} is not supported; CoCas with it cannot be loaded"
        )


def _check_sizes(vision, text, multimodal, origin):
    if multimodal["width"] != text["width"]:
        raise InvalidInputError(
            f"{origin}: multimodal_cfg.width={multimodal['width']} differs from text_cfg.width="
            f"{text['width']}; the decoder reads the text tower's features as they are"
        )
    if isinstance(vision["layers"], (list, tuple)):
        raise InvalidInputError(
            f"{origin}: vision_cfg.layers={vision['layers']} describes a ResNet; only Vision "
            "Transformers can be loaded"
        )
    if text["proj_type"] not in ("linear", "none"):
        raise InvalidInputError(
            f"{origin}: text_cfg.proj_type={text['proj_type']!r} is unknown; known are 'linear' "
            "and 'none'"
        )
