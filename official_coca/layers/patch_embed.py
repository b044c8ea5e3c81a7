"""Images to a sequence of patch embeddings.

Shapes: B batch, H x W pixels, P x P pixels of a patch, N = (H / P)(W / P) patches, D width.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.layers.without_one_dnn import swap_axes


def as_pair(size):
    """An int or a (height, width) pair as a tuple of two ints."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


@keras.saving.register_keras_serializable(package="official_coca")
class PatchEmbed(keras.layers.Layer):
    """Cuts an image into patches, projects them and adds learned 2-D positions (ViT).

    The projection is the strided convolution of ViT, written as reshape and matrix product. At
    another resolution the table of positions is resized bilinearly, as CoCa's step from 288 to 576
    pixels needs (section 4.1).

    Args:
        hidden_dim: D.
        patch_size: P, an int or a (height, width) pair.
        image_size: H and W that the table of positions is made for, an int or a pair.
        use_class_token: whether a learned class token comes first (open_clip's weights have one,
            the paper needs none).
        use_bias: whether the projection has a bias (open_clip's has none).

    Call arguments:
        images: (B, H, W, 3) float; H and W may differ from `image_size` but are multiples of P.

    Returns:
        (B, N, D), or (B, 1 + N, D) with a class token.
    """

    def __init__(
        self,
        hidden_dim,
        patch_size,
        image_size,
        use_class_token=False,
        use_bias=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.patch_size = as_pair(patch_size)
        self.image_size = as_pair(image_size)
        self.use_class_token = use_class_token
        self.use_bias = use_bias
        self.grid_size = self._grid(*self.image_size)

    def _grid(self, height, width):
        patch_height, patch_width = self.patch_size
        if height % patch_height or width % patch_width:
            raise InvalidInputError(
                f"an image of {height}x{width} pixels does not divide into patches of "
                f"{patch_height}x{patch_width}; resize it to multiples of the patch size"
            )
        return height // patch_height, width // patch_width

    def build(self, input_shape=None):
        patch_values = self.patch_size[0] * self.patch_size[1] * 3
        self.projection = keras.layers.Dense(
            self.hidden_dim, use_bias=self.use_bias, dtype=self.dtype_policy, name="projection"
        )
        self.projection.build((None, None, patch_values))
        table = keras.initializers.TruncatedNormal(stddev=0.02)  # ViT's
        self.position_embedding = self.add_weight(
            shape=(*self.grid_size, self.hidden_dim), initializer=table, name="position_embedding"
        )
        if self.use_class_token:
            self.class_token = self.add_weight(
                shape=(self.hidden_dim,), initializer=table, name="class_token"
            )
            self.class_position = self.add_weight(
                shape=(self.hidden_dim,), initializer=table, name="class_position"
            )

    def call(self, images):
        # A size that is unknown while tracing is taken to be the one the layer was made for.
        height = images.shape[1] or self.image_size[0]
        width = images.shape[2] or self.image_size[1]
        rows, columns = self._grid(height, width)
        patch_height, patch_width = self.patch_size
        lines = ops.reshape(images, (-1, patch_height, columns, patch_width * 3))
        patches = ops.reshape(
            swap_axes(lines), (-1, rows * columns, patch_height * patch_width * 3)
        )
        embedded = self.projection(patches) + self._positions(rows, columns)
        if not self.use_class_token:
            return embedded
        class_token = ops.cast(self.class_token + self.class_position, embedded.dtype)
        class_token = ops.broadcast_to(
            class_token, (ops.shape(embedded)[0], 1, self.hidden_dim)
        )
        return ops.concatenate([class_token, embedded], axis=1)

    def _positions(self, rows, columns):
        table = self.position_embedding
        if (rows, columns) != self.grid_size:
            table = ops.image.resize(
                ops.cast(table, "float32"),
                (rows, columns),
                interpolation="bilinear",
                data_format="channels_last",
            )
        table = ops.reshape(table, (rows * columns, self.hidden_dim))
        return ops.cast(table, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "patch_size": self.patch_size,
            "image_size": self.image_size,
            "use_class_token": self.use_class_token,
            "use_bias": self.use_bias,
        }
