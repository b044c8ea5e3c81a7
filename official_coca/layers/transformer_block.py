"""The one Transformer block of the project, for images, text and both.

Shapes: B batch, L tokens, S tokens of the context, D width.
"""

import keras
from keras import ops

from official_coca.layers.activations import get_activation
from official_coca.layers.attention import CrossAttention, SelfAttention
from official_coca.layers.layer_normalization import LayerNormalization
from official_coca.layers.rows import apply_to_rows
from official_coca.layers.shared_graph import call_in_shared_graph


@keras.saving.register_keras_serializable(package="official_coca")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm Transformer block: self-attention, optional cross-attention, MLP, each residual.

    With both attentions it is the standard decoder layer with **one** MLP, the block that CoCa's
    Table 1 counts (297M decoder parameters for Base).

    Args:
        num_heads: attention heads; divides D.
        mlp_dim: hidden width of the MLP.
        self_attention: whether the block attends to its own sequence.
        cross_attention: whether it can attend to a context.
        normalize_context: whether the context is normalised before it is attended to.
        attention_bias: whether attention projections have biases.
        activation: of the MLP. GELU is the ViT choice (the paper does not state one).
        layer_norm_epsilon: 1e-6, as in ViT.
        recompute_activations: whether gradients keep only the block's input and compute the rest
            again on the way back (Chen et al. 2016, arXiv 1604.06174).

    Call arguments:
        inputs: (B, L, D).
        context: (B, S, C), or None to skip the cross-attention in this call.
        attention_mask: boolean, broadcastable to (B, H, L, L), for self-attention; None sees all.

    Returns:
        (B, L, D).
    """

    def __init__(
        self,
        num_heads,
        mlp_dim,
        self_attention=True,
        cross_attention=False,
        normalize_context=False,
        attention_bias=False,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        recompute_activations=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.self_attention = self_attention
        self.cross_attention = cross_attention
        self.normalize_context = normalize_context
        self.attention_bias = attention_bias
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.recompute_activations = recompute_activations

    def build(self, inputs_shape, context_shape=None):
        if self.self_attention:
            self.self_norm = self._norm("self_norm", inputs_shape)
            self.self_attend = SelfAttention(
                self.num_heads, self.attention_bias, dtype=self.dtype_policy, name="self_attend"
            )
            self.self_attend.build(inputs_shape)
        if self.cross_attention:
            self.cross_norm = self._norm("cross_norm", inputs_shape)
            self.cross_attend = CrossAttention(
                self.num_heads, self.attention_bias, dtype=self.dtype_policy, name="cross_attend"
            )
            self.cross_attend.build(inputs_shape, context_shape)
            if self.normalize_context:
                self.context_norm = self._norm("context_norm", context_shape)
        self.mlp_norm = self._norm("mlp_norm", inputs_shape)
        self.mlp_hidden = keras.layers.Dense(
            self.mlp_dim,
            activation=get_activation(self.activation),
            dtype=self.dtype_policy,
            name="mlp_hidden",
        )
        self.mlp_hidden.build((None, inputs_shape[-1]))
        self.mlp_output = keras.layers.Dense(
            inputs_shape[-1], dtype=self.dtype_policy, name="mlp_output"
        )
        self.mlp_output.build((None, self.mlp_dim))

    def _norm(self, name, inputs_shape):
        norm = LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        norm.build(inputs_shape)
        return norm

    def _mlp(self, x):
        hidden = apply_to_rows(self.mlp_hidden, self.mlp_norm(x))
        return apply_to_rows(self.mlp_output, hidden)

    def call(self, inputs, context=None, attention_mask=None):
        if self.recompute_activations:
            return self._recomputed(inputs, context, attention_mask)
        return call_in_shared_graph(self, "_forward", attention_mask, inputs, context)

    def _recomputed(self, inputs, context, attention_mask):
        def forward(*inputs_and_context):
            return self._forward(attention_mask, *inputs_and_context)

        forward = keras.remat(forward)
        # Gradients flow to arguments only, which may not be None: so the mask is none of them.
        return forward(inputs) if context is None else forward(inputs, context)

    def _forward(self, attention_mask, x, context=None):
        if self.self_attention:
            x = x + self.self_attend(self.self_norm(x), attention_mask=attention_mask)
        if self.cross_attention and context is not None:
            x = x + self.cross_attend.attend_to(self.cross_norm(x), self.project_context(context))
        return x + self._mlp(x)

    def last_token(self, inputs, attention_mask=None):
        """(B, L, D) → (B, 1, D): what `call` returns for the last token, at less cost."""
        return call_in_shared_graph(self, "_forward_last", attention_mask, inputs)

    def _forward_last(self, attention_mask, x):
        attended = self.self_attend.last_token(self.self_norm(x), attention_mask)
        x = x[:, -1:] + attended
        return x + self._mlp(x)

    def project_context(self, context):
        """Keys and values of a context; see `CrossAttention.project_context`."""
        if self.normalize_context:
            context = self.context_norm(context)
        return self.cross_attend.project_context(context)

    def decode_step(self, inputs, self_cache, cross_cache, index, visible=None):
        """One token forward; a cache that the block has no use for is None and stays None.

        Args:
            inputs: (B, 1, D), the token at position `index`.
            self_cache: keys and values of the tokens so far; see `SelfAttention.decode_step`.
            cross_cache: projected context; see `CrossAttention.attend_to`.
            index: scalar int.
            visible: (B, T) boolean, which tokens self-attention may see; None for all so far.

        Returns:
            (B, 1, D) and the new self-attention cache.
        """
        index = ops.convert_to_tensor(index, "int32")
        return call_in_shared_graph(
            self, "_decode", inputs, self_cache, cross_cache, index, visible
        )

    def _decode(self, x, self_cache, cross_cache, index, visible):
        if self.self_attention:
            attended, self_cache = self.self_attend.decode_step(
                self.self_norm(x), self_cache, index, visible
            )
            x = x + attended
        if self.cross_attention:
            x = x + self.cross_attend.attend_to(self.cross_norm(x), cross_cache)
        return x + self._mlp(x), self_cache

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "self_attention": self.self_attention,
            "cross_attention": self.cross_attention,
            "normalize_context": self.normalize_context,
            "attention_bias": self.attention_bias,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "recompute_activations": self.recompute_activations,
        }
