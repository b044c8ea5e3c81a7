"""The image tower: a Vision Transformer without a head.

Shapes: B batch, H x W pixels, N patches (one more with a class token), D width.
"""

import keras

from official_coca.layers.layer_normalization import LayerNormalization
from official_coca.layers.patch_embed import PatchEmbed
from official_coca.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="official_coca")
class ImageEncoder(keras.layers.Layer):
    """Patch embedding and pre-norm Transformer blocks (CoCa section 3.2, ViT).

    By default there is no norm before the first block and none after the last: the attentional
    poolers, which read the features, normalise what they read.

    Args:
        num_layers: Transformer blocks.
        hidden_dim: D.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        patch_size: an int or a (height, width) pair.
        image_size: an int or a pair; the resolution that the positions are made for.
        use_class_token: whether a learned class token comes first.
        attention_bias: whether attention projections have biases.
        patch_bias: whether the projection of the patches has a bias.
        pre_norm: whether the embedded patches are normalised before the first block (CLIP).
        post_norm: whether the features are normalised after the last block.
        activation: of the MLPs; see `TransformerBlock`.
        layer_norm_epsilon: of all norms.
        recompute_activations: see `TransformerBlock`.

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
        patch_bias=True,
        pre_norm=False,
        post_norm=False,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        recompute_activations=False,
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
        self.patch_bias = patch_bias
        self.pre_norm = pre_norm
        self.post_norm = post_norm
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.recompute_activations = recompute_activations
        self.patch_embed = PatchEmbed(
            hidden_dim,
            patch_size,
            image_size,
            use_class_token,
            patch_bias,
            dtype=self.dtype_policy,
            name="patch_embed",
        )
        self.embedding_norm = self._norm("embedding_norm") if pre_norm else None
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                attention_bias=attention_bias,
                activation=activation,
                layer_norm_epsilon=layer_norm_epsilon,
                recompute_activations=recompute_activations,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.final_norm = self._norm("final_norm") if post_norm else None

    def _norm(self, name):
        return LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape):
        self.patch_embed.build(input_shape)
        for layer in (self.embedding_norm, *self.blocks, self.final_norm):
            if layer is not None:
                layer.build((None, None, self.hidden_dim))

    def call(self, images):
        features = self.patch_embed(images)
        for layer in (self.embedding_norm, *self.blocks, self.final_norm):
            if layer is not None:
                features = layer(features)
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
            "patch_bias": self.patch_bias,
            "pre_norm": self.pre_norm,
            "post_norm": self.post_norm,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "recompute_activations": self.recompute_activations,
        }
