"""Floating point operations of a CoCa's matrix products, counted from its architecture.

A product of (m, k) and (k, n) counts 2mkn; norms, activations, softmax and lookups count nothing.
Attention counts all pairs, masked ones too. The backward pass counts twice the forward pass: one
product for the gradient of each factor.

Shapes: B batch, L text tokens, N image features, C their width, Q image tokens, D text width,
E embedding width, V vocabulary, T tokens of a written caption, K beams.
"""

TRAINING = 3  # a forward pass and a backward pass of twice its operations


def product(rows, width_in, width_out):
    """Of (rows, width_in) times (width_in, width_out)."""
    return 2 * rows * width_in * width_out


def attention(queries, keys, width):
    """Of the scores and of the weighted sum, over all heads together."""
    return 2 * product(queries, width, keys)


def self_attention(tokens, width):
    """With its four projections."""
    return product(tokens, width, 4 * width) + attention(tokens, tokens, width)


def cross_attention(tokens, context, width, context_width):
    """With its four projections."""
    projections = product(tokens, width, 2 * width) + product(context, context_width, 2 * width)
    return projections + attention(tokens, context, width)


def mlp(tokens, width, hidden_width):
    return 2 * product(tokens, width, hidden_width)


class CoCaFlops:
    """Counts for one architecture.

    Args:
        arguments: constructor arguments of `CoCa`, a dict: `model.get_config()`, or what
            `open_clip_config.coca_arguments` makes of open_clip's configuration.
    """

    def __init__(self, arguments):
        get = arguments.get
        self.pooler = get("pooler", "cascade")
        self.patch_size, image_size = _pair(arguments["patch_size"]), _pair(arguments["image_size"])
        self.patches = (image_size[0] // self.patch_size[0]) * (image_size[1] // self.patch_size[1])
        self.image_features = self.patches + bool(get("use_class_token"))  # N
        self.image_layers = arguments["image_num_layers"]
        self.image_width = arguments["image_hidden_dim"]  # C
        self.image_mlp = arguments["image_mlp_dim"]
        self.queries = get("num_queries", 0)
        self.projects_image = get("project_image", False)
        self.text_layers = arguments["unimodal_num_layers"]
        self.decoder_layers = arguments["multimodal_num_layers"]
        self.width = arguments["text_hidden_dim"]  # D
        self.text_mlp = arguments["text_mlp_dim"]
        self.decoder_mlp = get("multimodal_mlp_dim") or self.text_mlp
        self.mlps_a_layer = 2 if get("separate_cross_attention_mlp") else 1
        self.projects_text = get("embedding_dim") is not None
        self.embedding = get("embedding_dim") or self.width  # E
        self.vocabulary_size = arguments["vocabulary_size"]  # V
        self.captions = get("captioning_loss_weight", 2.0) != 0

    def image_encoder(self):
        """Of one image, without the poolers."""
        values = self.patch_size[0] * self.patch_size[1] * 3
        features, width = self.image_features, self.image_width
        block = self_attention(features, width) + mlp(features, width, self.image_mlp)
        return product(self.patches, values, width) + self.image_layers * block

    def image_tokens(self):
        """Number and width of what the decoder reads, the contrastive token taken off."""
        if self.pooler == "none":
            return self.image_features - 1, self.image_width
        if self.pooler == "shared":
            return self.queries - 1, self.embedding
        return self.queries, self.width

    def poolers(self):
        """Of one image, the projection to the embedding included."""
        features, width = self.image_features, self.image_width
        count, pooled_width = 0, width
        if self.pooler != "none":
            pooled_width = self.embedding if self.pooler == "shared" else self.width
            if self.captions or self.pooler != "parallel":
                count += cross_attention(self.queries, features, pooled_width, width)
        if self.pooler == "cascade":
            count += cross_attention(1, self.queries, self.embedding, self.width)
        if self.pooler == "parallel":
            count += cross_attention(1, features, self.embedding, width)
        if self.pooler in ("cascade", "parallel"):
            pooled_width = self.embedding
        return count + self.projects_image * product(1, pooled_width, self.embedding)

    def image(self):
        """Of one image, from its pixels to its embedding and the decoder's image tokens."""
        return self.image_encoder() + self.poolers()

    def text(self, length):
        """Of one text of `length` tokens and the class token behind them."""
        tokens, width = length + 1, self.width
        block = self_attention(tokens, width) + mlp(tokens, width, self.text_mlp)
        return self.text_layers * block + self.projects_text * product(1, width, self.embedding)

    def decoder(self, length):
        """Of the multimodal decoder on one text, without the vocabulary projection."""
        context, context_width = self.image_tokens()
        return self.decoder_layers * (
            self_attention(length, self.width)
            + cross_attention(length, context, self.width, context_width)
            + self.mlps_a_layer * mlp(length, self.width, self.decoder_mlp)
        )

    def vocabulary(self, tokens):
        return product(tokens, self.width, self.vocabulary_size)

    def training_step(self, batch_size, length, decoder_length, predicted_tokens):
        """Of forward and backward pass; the optimizer has no products.

        Args:
            batch_size: B.
            length: tokens of a row that the text tower is given.
            decoder_length: tokens of a row that the multimodal decoder is given.
            predicted_tokens: of the whole batch, whose logits are computed.
        """
        forward = batch_size * (self.image() + self.text(length))
        forward += product(batch_size, self.embedding, batch_size)
        if self.captions:
            forward += batch_size * self.decoder(decoder_length) + self.vocabulary(predicted_tokens)
        return TRAINING * forward

    def captioning(self, batch_size, length, beams=1):
        """Of captions of T = `length` tokens, BOS included, each token computed once.

        Keys and values of the image are projected once for an image; those of earlier tokens are
        kept. Who computes more than that for the same captions is given no credit for it.
        """
        context, context_width = self.image_tokens()
        width, steps = self.width, length - 1
        keys = product(context, context_width, 2 * width) * self.decoder_layers
        attended = sum(attention(1, position + 1, width) for position in range(steps))
        text_layer = product(steps, width, 4 * width) + attended + mlp(steps, width, self.text_mlp)
        decoder_layer = (
            product(steps, width, 6 * width)
            + attended
            + attention(steps, context, width)
            + self.mlps_a_layer * mlp(steps, width, self.decoder_mlp)
        )
        layers = self.text_layers * text_layer + self.decoder_layers * decoder_layer
        return batch_size * (self.image() + keys + beams * (layers + self.vocabulary(steps)))


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
