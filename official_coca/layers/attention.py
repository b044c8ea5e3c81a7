"""Multi-head attention with fused projections, and with caches for step-by-step decoding.

Shapes: B batch, L query tokens, S key tokens, D width, H heads, d width of one head, K beams of an
example, T capacity of a cache.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.layers.rows import apply_to_rows
from official_coca.layers.without_one_dnn import (
    has_few_numbers,
    is_small_attention,
    small_products,
    small_softmax,
    swap_axes,
)


def attention_weights(query, key, attention_mask=None):
    """Softmax of the scaled dot products, in float32.

    Args:
        query: (B, H, L, d).
        key: (B, H, S, d).
        attention_mask: boolean, broadcastable to (B, H, L, S); False hides a key. None sees all.

    Returns:
        (B, H, L, S) float32; each row sums to one.
    """
    query = query * ops.cast(query.shape[-1] ** -0.5, query.dtype)
    small = is_small_attention(query, key)
    if small:
        scores = small_products(query, key, transpose_b=True)
    else:
        scores = ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")
    if attention_mask is not None:
        # A sum rather than `where`: TensorFlow makes it a part of the product.
        scores = scores + (ops.cast(attention_mask, "float32") - 1.0) * 1e9
    return small_softmax(scores) if small else ops.softmax(scores, axis=-1)


def attend(query, key, value, attention_mask=None):
    """Scaled dot-product attention: (B, H, L, d) queries over (B, H, S, d) keys and values."""
    weights = attention_weights(query, key, attention_mask)
    products = small_products if is_small_attention(query, key) else ops.matmul
    return products(ops.cast(weights, value.dtype), value)


class _MultiHeadAttention(keras.layers.Layer):
    """What self- and cross-attention share: heads, projections and their initialisers."""

    def __init__(self, num_heads, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.use_bias = use_bias

    def _projection(self, width, name, num_fused=1):
        # Each of the fused (D, D) matrices keeps the Glorot variance it would have on its own.
        initializer = keras.initializers.VarianceScaling(
            scale=(1 + num_fused) / 2, mode="fan_avg", distribution="uniform"
        )
        return keras.layers.Dense(
            num_fused * width,
            use_bias=self.use_bias,
            kernel_initializer=initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def _set_width(self, width):
        if width % self.num_heads:
            raise InvalidInputError(
                f"{self.name}: width {width} does not divide into num_heads={self.num_heads}; "
                "choose a width that is a multiple of the number of heads"
            )
        self.width = width
        self.head_dim = width // self.num_heads

    def _split_heads(self, fused, num_fused):
        """(B, L, num_fused * D) → `num_fused` times (B, H, L, d)."""
        length = fused.shape[1] if fused.shape[1] is not None else ops.shape(fused)[1]
        if fused.shape[1] == 1 or has_few_numbers(fused):
            shape = (-1, length, self.num_heads, self.head_dim)
            parts = ops.split(fused, num_fused, axis=-1)
            return [swap_axes(ops.reshape(part, shape)) for part in parts]
        fused = ops.reshape(fused, (-1, length, num_fused, self.num_heads, self.head_dim))
        return ops.unstack(ops.transpose(fused, (2, 0, 3, 1, 4)), num_fused)

    def _merge_heads(self, heads):
        """(B, H, L, d) → (B, L, D)."""
        length = heads.shape[2] if heads.shape[2] is not None else ops.shape(heads)[2]
        return ops.reshape(swap_axes(heads), (-1, length, self.width))

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package="official_coca")
class SelfAttention(_MultiHeadAttention):
    """Multi-head self-attention; queries, keys and values come from one matrix product.

    Args:
        num_heads: H; divides the width of the input.
        use_bias: whether the projections have biases. The encoder sizes in CoCa's Table 1 (303M
            for Large) are met without.

    Call arguments:
        inputs: (B, L, D).
        attention_mask: boolean, broadcastable to (B, H, L, L), or None.

    Returns:
        (B, L, D).
    """

    def build(self, input_shape):
        self._set_width(input_shape[-1])
        self.query_key_value = self._projection(self.width, "query_key_value", num_fused=3)
        self.query_key_value.build(input_shape)
        self.output_projection = self._projection(self.width, "output_projection")
        self.output_projection.build(input_shape)

    def call(self, inputs, attention_mask=None):
        heads = attend(*self._project(inputs), attention_mask)
        return apply_to_rows(self.output_projection, self._merge_heads(heads))

    def last_token(self, inputs, attention_mask=None):
        """(B, L, D) → (B, 1, D): what `call` returns for the last token."""
        query, key, value = self._project(inputs)
        if attention_mask is not None:
            attention_mask = attention_mask[..., -1:, :]
        heads = attend(query[:, :, -1:], key, value, attention_mask)
        return apply_to_rows(self.output_projection, self._merge_heads(heads))

    def _project(self, inputs):
        """(B, L, D) → query, key and value, each (B, H, L, d)."""
        return self._split_heads(apply_to_rows(self.query_key_value, inputs), 3)

    def empty_cache(self, batch_size, capacity):
        """Zeros, a pair of (B, H, T, d): the keys and the values of T tokens to come."""
        shape = (batch_size, self.num_heads, capacity, self.head_dim)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def decode_step(self, inputs, cache, index, visible=None):
        """Attends from one new token to itself and to the tokens before it.

        Args:
            inputs: (B, 1, D), the token at position `index`.
            cache: keys and values, each (B, H, T, d).
            index: scalar int, at least 0 and below T.
            visible: (B, T) boolean, which of the tokens so far may be seen; None for all.

        Returns:
            (B, 1, D) and the cache with the new token's key and value in it.
        """
        query, *new_entries = self._project(inputs)
        cache = tuple(_write(old, new, index) for old, new in zip(cache, new_entries))
        seen = ops.arange(cache[0].shape[2]) <= index
        if visible is not None:
            seen = ops.logical_and(seen, visible[:, None, None, :])
        heads = attend(query, *cache, seen)
        return apply_to_rows(self.output_projection, self._merge_heads(heads)), cache


def _write(cache, entry, index):
    """The cache (B, H, T, d) with an entry (B, H, 1, d) at position `index`.

    Rows are scattered: TensorFlow compiles `slice_update` for each batch size, and `where` was
    seen to take three times as long.
    """
    _, num_heads, capacity, width = cache.shape
    rows = ops.reshape(cache, (-1, width))
    places = ops.arange(ops.shape(cache)[0] * num_heads) * capacity + ops.cast(index, "int32")
    rows = ops.scatter_update(rows, places[:, None], ops.reshape(entry, (-1, width)))
    return ops.reshape(rows, (-1, num_heads, capacity, width))


@keras.saving.register_keras_serializable(package="official_coca")
class CrossAttention(_MultiHeadAttention):
    """Multi-head attention from one sequence to another of any width.

    Args:
        num_heads: H; divides the width of the queries.
        use_bias: whether the projections have biases.

    Call arguments:
        inputs: (B, L, D) queries, or (1, L, D) the same for all, projected once.
        context: (B, S, C) what they look at.

    Returns:
        (B, L, D).
    """

    def build(self, inputs_shape, context_shape):
        self._set_width(inputs_shape[-1])
        self.query = self._projection(self.width, "query")
        self.query.build(inputs_shape)
        self.key_value = self._projection(self.width, "key_value", num_fused=2)
        self.key_value.build(context_shape)
        self.output_projection = self._projection(self.width, "output_projection")
        self.output_projection.build(inputs_shape)

    def project_context(self, context):
        """(B, S, C) → keys and values, each (B, H, S, d), computed once for many queries."""
        return tuple(self._split_heads(apply_to_rows(self.key_value, context), 2))

    def call(self, inputs, context):
        return self.attend_to(inputs, self.project_context(context))

    def attend_to(self, inputs, projected_context):
        """Attends with contexts that are already projected, shared by the beams of an example.

        Args:
            inputs: (B * K, L, D); K consecutive rows share a context. Or (1, L, D) for all.
            projected_context: keys and values, each (B, H, S, d).

        Returns:
            (B * K, L, D).
        """
        query = self._fold_beams(inputs, ops.shape(projected_context[0])[0])
        heads = attend(query, *projected_context)
        outputs = apply_to_rows(self.output_projection, self._merge_heads(heads))
        return ops.reshape(outputs, (-1, *self._static_tail(inputs)))

    def attention_weights(self, inputs, context):
        """How much each query looks at each token of the context: (B, H, L, S), for pictures."""
        key, _ = self.project_context(context)
        return attention_weights(self._fold_beams(inputs, ops.shape(key)[0]), key)

    def _fold_beams(self, inputs, num_contexts):
        """(B * K, L, D) → queries (B, H, K * L, d): beams become further queries of an example."""
        if inputs.shape[0] == 1:
            num_contexts = 1
        query = ops.reshape(
            apply_to_rows(self.query, inputs), (num_contexts, -1, self.num_heads, self.head_dim)
        )
        return swap_axes(query)

    def _static_tail(self, inputs):
        length = inputs.shape[1] if inputs.shape[1] is not None else ops.shape(inputs)[1]
        return length, self.width
