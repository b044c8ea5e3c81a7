"""The image tower: a Vision Transformer without a head.

Shapes: B batch, H x W pixels, N patches (one more with a class token), D width.
"""

import keras

from official_coca.layers.patch_embed import PatchEmbed
from official_coca.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="official_coca")
class ImageEncoder(keras.layers.Layer):
    """Patch embedding and pre-norm Transformer blocks (CoCa section 3.2, ViT).

    There is no norm after the last block: the attentional poolers, which read the features,
    normalise what they read.

    Args:
        num_layers: Transformer blocks.
        hidden_dim: D.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        patch_size: an int or a (height, width) pair.
        image_size: an int or a pair; the resolution that the positions are made for.
        use_class_token: whether a learned class token comes first.
        attention_bias: whether attention projections have biases.

    Call arguments:
        images: (B, H, W, 3) float.

    Returns:
        (B, N, D) features of the patches.
    """

    def __init__(
        self,
        num_layers,
        hidden_dim,
        num_heads,
        mlp_dim,
        patch_size,
        image_size,
        use_class_token=False,
        attention_bias=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.patch_size = patch_size
        self.image_size = image_size
        self.use_class_token = use_class_token
        self.attention_bias = attention_bias
        self.patch_embed = PatchEmbed(
            hidden_dim,
            patch_size,
            image_size,
            use_class_token,
            dtype=self.dtype_policy,
            name="patch_embed",
        )
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                attention_bias=attention_bias,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]

    def build(self, input_shape):
        self.patch_embed.build(input_shape)
        for block in self.blocks:
            block.build((None, None, self.hidden_dim))

    def call(self, images):
        features = self.patch_embed(images)
        for block in self.blocks:
            features = block(features)
        return features

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "patch_size": self.patch_size,
            "image_size": self.image_size,
            "use_class_token": self.use_class_token,
            "attention_bias": self.attention_bias,
        }
