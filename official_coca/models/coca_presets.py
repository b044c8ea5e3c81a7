"""Architectures by name.

Base, Large and giant are Table 1 of the paper (arXiv 2205.01917); everything they leave out is the
default of `CoCa`, which is Base.
"""

PRESETS = {
    # For the embedded digits: trains on two CPU cores in minutes.
    "coca_tiny": {
        "vocabulary_size": 128,
        "image_size": 32,
        "patch_size": 8,
        "image_num_layers": 3,
        "image_hidden_dim": 128,
        "image_num_heads": 4,
        "image_mlp_dim": 512,
        "num_queries": 16,
        "unimodal_num_layers": 1,
        "multimodal_num_layers": 1,
        "text_hidden_dim": 64,
        "text_num_heads": 4,
        "text_mlp_dim": 256,
        "max_length": 32,
    },
    # 86M image encoder + 297M decoder.
    "coca_base": {},
    # 303M image encoder + 484M decoder.
    "coca_large": {
        "image_num_layers": 24,
        "image_hidden_dim": 1024,
        "image_num_heads": 16,
        "image_mlp_dim": 4096,
        "text_hidden_dim": 1024,
        "text_num_heads": 16,
        "text_mlp_dim": 4096,
    },
    # 1B image encoder + 1.1B decoder = 2.1B. Base and Large match the table only with separate
    # input and output token tables; the giant's 2.1B only with a shared one (2.10B, against 2.19B).
    "coca_giant": {
        "image_num_layers": 40,
        "image_hidden_dim": 1408,
        "image_num_heads": 16,
        "image_mlp_dim": 6144,
        "unimodal_num_layers": 18,
        "multimodal_num_layers": 18,
        "text_hidden_dim": 1408,
        "text_num_heads": 16,
        "text_mlp_dim": 5632,
        "tie_embeddings": True,
    },
}
