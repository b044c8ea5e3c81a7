"""CoCa: Contrastive Captioners are Image-Text Foundation Models (Yu et al. 2022, arXiv 2205.01917).

Shapes: B batch, H x W pixels, N patches, Q image tokens, L text tokens, V vocabulary, D text width,
E embedding width, C width of the image tokens, K beams of an image, T capacity of a cache.
"""

import inspect
import math

import keras
from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.layers.attentional_pooler import AttentionalPooler
from official_coca.layers.image_encoder import ImageEncoder
from official_coca.layers.multimodal_decoder import MultimodalDecoder
from official_coca.layers.patch_embed import as_pair
from official_coca.layers.shared_graph import is_traced
from official_coca.layers.unimodal_decoder import UnimodalDecoder
from official_coca.losses.captioning import divide_by_token_count, token_cross_entropy
from official_coca.losses.contrastive import contrastive_loss, text_fingerprints
from official_coca.losses.cross_replica import example_numbers
from official_coca.models import model_inputs
from official_coca.models.captioning_model import CaptioningModel, compiled
from official_coca.models.coca_presets import PRESETS
from official_coca.models.measurements import Measurement
from official_coca.models.open_clip_checkpoint import (
    is_open_clip_checkpoint,
    load_open_clip_checkpoint,
)
from official_coca.models.open_weights import OPEN_WEIGHTS
from official_coca.saving import handles, presets
from official_coca.saving.paused_collector import paused_collector

_POOLERS = ("cascade", "parallel", "shared", "none")
_POSITIVES = ("pair", "same_text")


@keras.saving.register_keras_serializable(package="official_coca")
class CoCa(CaptioningModel):
    """Contrastive Captioner: one model that embeds images, embeds texts and writes captions.

    Defaults are the paper's CoCa-Base (Table 1) and its training choices (sections 3.2 and 4.1);
    what the paper leaves open says so.

    Args:
        vocabulary_size: V; the paper's SentencePiece model has 64k pieces.
        image_size: H and W, an int or a (height, width) pair.
        patch_size: pixels of a patch, an int or a pair.
        image_num_layers: blocks of the image encoder.
        image_hidden_dim: its width.
        image_num_heads: its attention heads.
        image_mlp_dim: its MLP width.
        use_class_token: whether the image encoder has a class token (open_clip's weights do).
        pooler: "cascade" (the paper's default: the contrastive pooler reads the generative one's
            output), "parallel" (both read the encoder), "shared" (open_clip: one pooler, whose
            first query is the contrastive one) or "none" (open_clip's coca_base: the class token
            is the contrastive feature, and the decoder reads all patches).
        num_queries: queries of the generative pooler (256 in the paper).
        pooler_num_heads: heads of the poolers; None for as many as the text decoders have (the
            paper does not state it).
        unimodal_num_layers: text layers without image (`n_uni`).
        multimodal_num_layers: text layers with cross-attention to the image (`n_multi`).
        text_hidden_dim: D; the paper shares one width with the image encoder.
        text_num_heads: attention heads of the decoders.
        text_mlp_dim: MLP width of the decoders.
        max_length: longest caption in tokens (64 in ALIGN and MaMMUT; CoCa does not state it).
        embedding_dim: E; None for D without a projection of the text.
        multimodal_num_heads: heads of the multimodal decoder; None for `text_num_heads`.
        multimodal_mlp_dim: MLP width of the multimodal decoder; None for `text_mlp_dim`.
        separate_cross_attention_mlp: open_clip's decoder layer; see `MultimodalDecoder`.
        attention_bias: whether attention projections have biases.
        tie_embeddings: whether logits share the input token table.
        patch_bias: see `ImageEncoder`, as for the next two.
        image_pre_norm: a norm before the first image block.
        image_post_norm: a norm after the last image block.
        project_image: whether the contrastive image feature is projected to E.
        normalize_pooled: whether poolers normalise their output.
        normalize_context: whether each decoder layer normalises the image tokens it reads.
        class_token_mask: what the text's class token sees, "paper" or "open_clip"; see
            `causal_mask_with_class_token`.
        class_token_position: whether the text's class token has a position; see `UnimodalDecoder`.
        activation: of all MLPs, "gelu", "quick_gelu" or another name of `keras.activations`.
        layer_norm_epsilon: of all norms.
        recompute_activations: see `TransformerBlock`: larger batches for one more forward pass.
        open_clip_decoding: whether `generate` keeps open_clip's rules: any id may be written, PAD
            ends a caption as EOS does, and a caption that is cut ends with EOS.
        pad_token_id: fills short captions up.
        bos_token_id: begins every caption.
        eos_token_id: ends every caption.
        contrastive_loss_weight: λ_con, 1 in the paper; 0 skips the work for it.
        captioning_loss_weight: λ_cap, 2 in the paper; 0 skips the work for it.
        positives: "pair" (the paper) or "same_text": images with equal texts are positives of each
            other, as labels written as text call for (UniCL).
        initial_temperature: of the contrastive softmax, trainable; 0.07 in the paper.
        preprocessor: an `ImageTextPreprocessor`; with one, methods take strings and image bytes.

    Call arguments:
        inputs: {"images": (B, H, W, 3) float, "token_ids": (B, L) int, padded on the right}.

    Returns:
        {"image_embedding": (B, E), "text_embedding": (B, E), "logits": (B, L, V)}, all float32;
        embeddings are L2-normalised, logits at a position foretell the next token.

    Raises:
        InvalidInputError: on values that do not exist or do not fit each other.
    """

    def __init__(
        self,
        vocabulary_size=64_000,
        image_size=288,
        patch_size=18,
        image_num_layers=12,
        image_hidden_dim=768,
        image_num_heads=12,
        image_mlp_dim=3072,
        use_class_token=False,
        pooler="cascade",
        num_queries=256,
        pooler_num_heads=None,
        unimodal_num_layers=12,
        multimodal_num_layers=12,
        text_hidden_dim=768,
        text_num_heads=12,
        text_mlp_dim=3072,
        max_length=64,
        embedding_dim=None,
        multimodal_num_heads=None,
        multimodal_mlp_dim=None,
        separate_cross_attention_mlp=False,
        attention_bias=False,
        tie_embeddings=False,
        patch_bias=True,
        image_pre_norm=False,
        image_post_norm=False,
        project_image=False,
        normalize_pooled=True,
        normalize_context=False,
        class_token_mask="paper",
        class_token_position=False,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        recompute_activations=False,
        open_clip_decoding=False,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        contrastive_loss_weight=1.0,
        captioning_loss_weight=2.0,
        positives="pair",
        initial_temperature=0.07,
        preprocessor=None,
        **kwargs,
    ):
        super().__init__(preprocessor=preprocessor, **kwargs)
        _check_choice("pooler", pooler, _POOLERS)
        _check_choice("positives", positives, _POSITIVES)
        if pooler == "none" and not use_class_token:
            raise InvalidInputError(
                "pooler='none' takes the image embedding from the image's class token; pass "
                "use_class_token=True"
            )
        if contrastive_loss_weight < 0 or captioning_loss_weight < 0:
            raise InvalidInputError(
                f"loss weights must not be negative, got contrastive {contrastive_loss_weight} "
                f"and captioning {captioning_loss_weight}"
            )
        if not contrastive_loss_weight and not captioning_loss_weight:
            raise InvalidInputError(
                "contrastive_loss_weight and captioning_loss_weight are both 0: nothing would be "
                "learned; give one of them a weight"
            )
        self.vocabulary_size = vocabulary_size
        self.image_size = as_pair(image_size)
        self.patch_size = as_pair(patch_size)
        self.image_num_layers = image_num_layers
        self.image_hidden_dim = image_hidden_dim
        self.image_num_heads = image_num_heads
        self.image_mlp_dim = image_mlp_dim
        self.use_class_token = use_class_token
        self.pooler = pooler
        self.num_queries = num_queries
        self.pooler_num_heads = pooler_num_heads
        self.unimodal_num_layers = unimodal_num_layers
        self.multimodal_num_layers = multimodal_num_layers
        self.text_hidden_dim = text_hidden_dim
        self.text_num_heads = text_num_heads
        self.text_mlp_dim = text_mlp_dim
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.multimodal_num_heads = multimodal_num_heads
        self.multimodal_mlp_dim = multimodal_mlp_dim
        self.separate_cross_attention_mlp = separate_cross_attention_mlp
        self.attention_bias = attention_bias
        self.tie_embeddings = tie_embeddings
        self.patch_bias = patch_bias
        self.image_pre_norm = image_pre_norm
        self.image_post_norm = image_post_norm
        self.project_image = project_image
        self.normalize_pooled = normalize_pooled
        self.normalize_context = normalize_context
        self.class_token_mask = class_token_mask
        self.class_token_position = class_token_position
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.recompute_activations = recompute_activations
        self.open_clip_decoding = open_clip_decoding
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.contrastive_loss_weight = contrastive_loss_weight
        self.captioning_loss_weight = captioning_loss_weight
        self.positives = positives
        self.initial_temperature = initial_temperature

        # === Layers ===
        shared = {
            "attention_bias": attention_bias,
            "layer_norm_epsilon": layer_norm_epsilon,
            "dtype": self.dtype_policy,
        }
        self.image_encoder = ImageEncoder(
            image_num_layers,
            image_hidden_dim,
            image_num_heads,
            image_mlp_dim,
            self.patch_size,
            self.image_size,
            use_class_token,
            patch_bias=patch_bias,
            pre_norm=image_pre_norm,
            post_norm=image_post_norm,
            activation=activation,
            recompute_activations=recompute_activations,
            name="image_encoder",
            **shared,
        )
        embedding_width = embedding_dim or text_hidden_dim
        poolers = {
            "num_heads": pooler_num_heads or text_num_heads,
            "normalize_output": normalize_pooled,
            **shared,
        }
        self.generative_pooler, self.contrastive_pooler = None, None
        if pooler != "none":
            self.generative_pooler = AttentionalPooler(
                num_queries,
                hidden_dim=embedding_width if pooler == "shared" else text_hidden_dim,
                name="generative_pooler",
                **poolers,
            )
        if pooler in ("cascade", "parallel"):
            self.contrastive_pooler = AttentionalPooler(
                1, hidden_dim=embedding_width, name="contrastive_pooler", **poolers
            )
        self.unimodal_decoder = UnimodalDecoder(
            vocabulary_size,
            unimodal_num_layers,
            text_hidden_dim,
            text_num_heads,
            text_mlp_dim,
            max_length,
            pad_token_id,
            class_token_mask=class_token_mask,
            class_token_position=class_token_position,
            activation=activation,
            recompute_activations=recompute_activations,
            name="unimodal_decoder",
            **shared,
        )
        self.text_projection = self.image_projection = None
        if embedding_dim is not None:
            self.text_projection = self._projection("text_projection", embedding_width)
        if project_image:
            self.image_projection = self._projection("image_projection", embedding_width)
        self.multimodal_decoder = MultimodalDecoder(
            vocabulary_size,
            multimodal_num_layers,
            text_hidden_dim,
            multimodal_num_heads or text_num_heads,
            multimodal_mlp_dim or text_mlp_dim,
            separate_cross_attention_mlp,
            tie_embeddings,
            normalize_context=normalize_context,
            activation=activation,
            recompute_activations=recompute_activations,
            name="multimodal_decoder",
            **shared,
        )
        self._functions = {}
        self.build()

    def _projection(self, name, width):
        return keras.layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name=name)

    def build(self, input_shape=None):
        """Makes all weights; the constructor calls it, since every shape is known there."""
        if self.built:
            return
        features_shape = (None, None, self.image_hidden_dim)
        tokens_shape = pooled_shape = features_shape
        self.image_encoder.build((None, *self.image_size, 3))
        if self.generative_pooler is not None:
            self.generative_pooler.build(features_shape)
            tokens_shape = pooled_shape = (None, None, self.generative_pooler.hidden_dim)
        if self.contrastive_pooler is not None:
            self.contrastive_pooler.build(
                tokens_shape if self.pooler == "cascade" else features_shape
            )
            pooled_shape = (None, None, self.contrastive_pooler.hidden_dim)
        if self.image_projection is not None:
            self.image_projection.build(pooled_shape)
        self.unimodal_decoder.build((None, None))
        if self.text_projection is not None:
            self.text_projection.build((None, self.text_hidden_dim))
        self.multimodal_decoder.build((None, None, self.text_hidden_dim), tokens_shape)
        # Kept as a logarithm, so that no step can make the temperature negative.
        self.log_temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(math.log(self.initial_temperature)),
            dtype="float32",
            autocast=False,
            name="log_temperature",
        )
        self.built = True

    # === Forward pass ===

    def call(self, inputs, training=None):
        image_embedding, image_tokens = self.image_features(inputs["images"])
        text_embedding, token_features = self.text_features(inputs["token_ids"])
        features = self.multimodal_decoder(token_features, image_tokens)
        return {
            "image_embedding": image_embedding,
            "text_embedding": text_embedding,
            "logits": self._project(features),
        }

    def image_features(self, images):
        """(B, H, W, 3) → contrastive embedding (B, E) and image tokens (B, Q, C)."""
        features = self.image_encoder(images)
        image_tokens = self._image_tokens(features)
        return self._image_embedding(features, image_tokens), self._for_decoder(image_tokens)

    def _image_tokens(self, features):
        """All that the generative pooler says; the encoder's features where there is none."""
        return features if self.pooler == "none" else self.generative_pooler(features)

    def _for_decoder(self, image_tokens):
        """The image tokens that the decoder reads: without the contrastive one, if it is there."""
        return image_tokens[:, 1:] if self.pooler in ("shared", "none") else image_tokens

    def _image_embedding(self, features, image_tokens):
        if self.pooler == "cascade":
            pooled = self.contrastive_pooler(image_tokens)
        elif self.pooler == "parallel":
            pooled = self.contrastive_pooler(features)
        else:
            pooled = image_tokens
        pooled = pooled[:, 0]
        if self.image_projection is not None:
            pooled = self.image_projection(pooled)
        return _unit_length(pooled)

    def text_features(self, token_ids):
        """(B, L) → contrastive embedding (B, E) and unimodal features of the tokens (B, L, D)."""
        class_features, token_features = self.unimodal_decoder(token_ids)
        return self._text_embedding(class_features), token_features

    def _text_embedding(self, class_features):
        if self.text_projection is not None:
            class_features = self.text_projection(class_features)
        return _unit_length(class_features)

    @property
    def padding_changes_text_embedding(self):
        """Whether texts must be padded to `max_length` to be embedded as open_clip does it."""
        return self.class_token_position

    def _project(self, features):
        return self.multimodal_decoder.project(features, self._token_embedding)

    @property
    def _token_embedding(self):
        return self.unimodal_decoder.text_embed.token_embedding

    @property
    def temperature(self):
        """The temperature of the contrastive softmax, a float32 scalar."""
        return ops.exp(self.log_temperature)

    # === Losses ===

    @property
    def measurement_names(self):
        names = []
        if self.contrastive_loss_weight:
            names += ["contrastive_loss", "image_to_text_accuracy", "text_to_image_accuracy"]
        if self.captioning_loss_weight:
            names += ["captioning_loss", "token_accuracy"]
        return tuple(names)

    def loss_weights(self):
        return {
            "contrastive_loss": self.contrastive_loss_weight,
            "captioning_loss": self.captioning_loss_weight,
        }

    def compute_losses(self, x, targets, weights, training=False, real_tokens_only=True):
        losses, measurements = {}, {}
        image_embedding, image_tokens = self._features_for_losses(x["images"])
        text_embedding, token_features = self.text_features(x["token_ids"])
        if self.contrastive_loss_weight:
            losses["contrastive_loss"], measured = self._contrastive(
                image_embedding, text_embedding, x["token_ids"]
            )
            measurements.update(measured)
        if self.captioning_loss_weight:
            features = self.multimodal_decoder(token_features, image_tokens)
            losses["captioning_loss"], measured = self._captioning(
                features, targets, weights, training, real_tokens_only
            )
            measurements.update(measured)
        return losses, measurements

    def logged_scalars(self):
        return {"temperature": self.temperature}

    def _features_for_losses(self, images):
        """`image_features`, without the parts that no loss asks for."""
        features = self.image_encoder(images)
        image_embedding = image_tokens = None
        if self.captioning_loss_weight or self.pooler != "parallel":
            image_tokens = self._image_tokens(features)
        if self.contrastive_loss_weight:
            image_embedding = self._image_embedding(features, image_tokens)
        if self.captioning_loss_weight:
            image_tokens = self._for_decoder(image_tokens)
        return image_embedding, image_tokens

    def _contrastive(self, image_embedding, text_embedding, token_ids):
        if self.positives == "same_text":
            example_keys = text_fingerprints(token_ids, token_ids != self.pad_token_id)
        else:
            example_keys = example_numbers(ops.shape(image_embedding)[0])[:, None]
        values, image_to_text_hits, text_to_image_hits = contrastive_loss(
            image_embedding, text_embedding, self.temperature, example_keys
        )
        ones = ops.ones_like(values)
        return ops.mean(values), {
            "contrastive_loss": Measurement(values, ones),
            "image_to_text_accuracy": Measurement(image_to_text_hits, ones),
            "text_to_image_accuracy": Measurement(text_to_image_hits, ones),
        }

    def _captioning(self, features, targets, weights, training, real_tokens_only):
        batch_size, length = ops.shape(targets)[0], ops.shape(targets)[1]
        features = ops.reshape(features, (-1, self.text_hidden_dim))
        targets = ops.reshape(targets, (-1,))
        weights = ops.cast(ops.reshape(weights, (-1,)), "float32")
        rows = ops.repeat(ops.arange(batch_size), length)
        if real_tokens_only:
            real = ops.nonzero(weights)[0]
            features, targets, weights, rows = (
                ops.take(values, real, axis=0) for values in (features, targets, weights, rows)
            )
        if training and keras.backend.backend() == "tensorflow":
            total, values, hits = self._chunked_cross_entropy(features, targets, weights)
        else:
            values, hits = token_cross_entropy(self._project(features), targets)
            total = ops.sum(values * weights)
        return divide_by_token_count(total, weights), {
            "captioning_loss": Measurement(values, weights, rows),
            "token_accuracy": Measurement(hits, weights, rows),
        }

    def _chunked_cross_entropy(self, features, targets, weights):
        from official_coca.losses.chunked_cross_entropy import chunked_cross_entropy

        kernel = self.multimodal_decoder.projection_kernel(self._token_embedding)
        return chunked_cross_entropy(features, kernel, targets, weights, self.tie_embeddings)

    # === Inference ===

    def encode_image(self, images):
        """Embeds images.

        Args:
            images: float (B, H, W, 3), preprocessed; with a preprocessor also uint8 pixels
                (B, h, w, 3) or encoded bytes (B,).

        Returns:
            (B, E) float32, L2-normalised.

        Raises:
            InvalidInputError: images of another rank or dtype, or that cannot be decoded.
        """
        images = model_inputs.as_images(self.preprocessor, images)
        return self._compiled("encode_image", lambda x: self.image_features(x)[0])(images)

    def encode_text(self, texts):
        """Embeds texts.

        Args:
            texts: token ids (B, L), padded on the right; with a preprocessor also B strings.

        Returns:
            (B, E) float32, L2-normalised.

        Raises:
            InvalidInputError: an empty text, or more tokens than `max_length`.
        """
        token_ids = model_inputs.as_token_ids(self.preprocessor, texts, self.max_length)
        return self._compiled("encode_text", self._encode_token_ids)(token_ids)

    def _encode_token_ids(self, token_ids):
        return self._text_embedding(self.unimodal_decoder.class_token_features(token_ids))

    def pooled_attention(self, images):
        """Where the poolers look, for pictures.

        Args:
            images: as `encode_image` takes them.

        Returns:
            (B, heads, N) float32: attention of the contrastive query to the patches, each row
            summing to one. A cascade attends through the generative pooler's queries, whose own
            attention (averaged over its heads) is multiplied in.

        Raises:
            InvalidInputError: the model has no pooler.
        """
        if self.pooler == "none":
            raise InvalidInputError(
                "this model has no attentional pooler (pooler='none'), so there is no attention "
                "of one to show"
            )
        images = model_inputs.as_images(self.preprocessor, images)
        return self._compiled("pooled_attention", self._pooled_attention)(images)

    def _pooled_attention(self, images):
        features = self.image_encoder(images)
        if self.pooler == "parallel":
            attention = self.contrastive_pooler.attention_weights(features)[:, :, 0]
        elif self.pooler == "shared":
            attention = self.generative_pooler.attention_weights(features)[:, :, 0]
        else:
            to_queries = self.contrastive_pooler.attention_weights(
                self.generative_pooler(features)
            )[:, :, 0]
            to_features = ops.mean(self.generative_pooler.attention_weights(features), axis=1)
            attention = ops.matmul(to_queries, to_features)
        if self.use_class_token:
            attention = attention[:, :, 1:]
            attention = attention / ops.sum(attention, axis=-1, keepdims=True)
        return attention

    def _compiled(self, name, function):
        if is_traced():  # a function of its own would keep its caller from replacing the weights
            return function
        if name not in self._functions:
            self._functions[name] = compiled(function)
        return self._functions[name]

    # === Decoding ===

    def init_cache(self, images, max_length):
        """Everything that decoding a caption needs to know of its image, and room for its tokens.

        Args:
            images: (B, H, W, 3) float.
            max_length: T, tokens that will be fed at most.

        Returns:
            {"self_attention": zeros for keys and values, each (B, heads, T, d), of each unimodal
            and then each multimodal layer; "token_visible": (B, T + 1), see
            `UnimodalDecoder.decode_step`; "cross_attention": keys and values of the image tokens,
            each (B, heads, Q, d), for each multimodal layer}.
        """
        return {
            **self.token_cache(ops.shape(images)[0], max_length),
            **self.image_cache(images),
        }

    def image_cache(self, images):
        """The part of `init_cache` that is made of the images and never changes."""
        image_tokens = self._for_decoder(self._image_tokens(self.image_encoder(images)))
        return {"cross_attention": self.multimodal_decoder.project_image_tokens(image_tokens)}

    def token_cache(self, batch_size, max_length):
        """The part of `init_cache` that is room for tokens."""
        return {
            "self_attention": (
                *self.unimodal_decoder.empty_cache(batch_size, max_length),
                *self.multimodal_decoder.empty_cache(batch_size, max_length),
            ),
            "token_visible": self.unimodal_decoder.all_visible(batch_size, max_length),
        }

    @property
    def decoding_widths(self):
        """Sizes of the axes of what `decode_step` computes, but for rows and positions."""
        return (
            self.text_hidden_dim,
            self.text_num_heads,
            self.text_mlp_dim,
            self.multimodal_decoder.num_heads,
            self.multimodal_decoder.mlp_dim,
            self.vocabulary_size,
        )

    def decode_step(self, token_ids, cache, index):
        """Feeds one token of each caption and foretells the next.

        Args:
            token_ids: (B * K, 1) int, at position `index`.
            cache: what `init_cache` or the last step returned. The self-attention caches have
                B * K rows; K beams share a row of the cross-attention caches.
            index: scalar int.

        Returns:
            (B * K, V) float32 logits and the new cache.
        """
        num_unimodal = self.unimodal_num_layers
        features, unimodal_cache, token_visible = self.unimodal_decoder.decode_step(
            token_ids, cache["self_attention"][:num_unimodal], cache["token_visible"], index
        )
        features, multimodal_cache = self.multimodal_decoder.decode_step(
            features, cache["self_attention"][num_unimodal:], cache["cross_attention"], index
        )
        new_cache = {
            "self_attention": (*unimodal_cache, *multimodal_cache),
            "token_visible": token_visible,
            "cross_attention": cache["cross_attention"],
        }
        return self._project(features)[:, 0], new_cache

    # === Saving ===

    @classmethod
    @paused_collector()
    def from_preset(cls, handle, load_weights=None, **overrides):
        """Loads a model and its preprocessor.

        Args:
            handle: a built-in architecture ("coca_tiny", "coca_base", "coca_large",
                "coca_giant"), trained weights by name ("coca_vit_b_32_laion2b",
                "coca_vit_l_14_laion2b", "coca_vit_b_32_mscoco", "coca_vit_l_14_mscoco"), a
                directory, "hf://owner/repository[@revision]" or
                "kaggle://owner/model/framework/variation". A directory or repository holds a
                preset of ours, or a checkpoint of open_clip.
            load_weights: None loads them where there are any, and warns where there are none
                (built-in architectures); True insists; False builds the architecture alone.
            **overrides: constructor arguments to replace.

        Raises:
            InvalidInputError: an unknown handle, a missing file, weights that do not fit.
        """
        if handle in PRESETS:
            return presets.build_architecture(
                cls, handle, PRESETS[handle], load_weights, overrides
            )
        load_weights = load_weights is not False
        if handle in OPEN_WEIGHTS:
            handle = f"hf://{OPEN_WEIGHTS[handle]}"
        directory = handles.resolve(handle, (*PRESETS, *OPEN_WEIGHTS))
        if is_open_clip_checkpoint(directory):
            return load_open_clip_checkpoint(cls, handle, directory, load_weights, overrides)
        return presets.load_preset(cls, handle, directory, load_weights, overrides)

    def save_to_preset(self, directory):
        """Writes the model and its preprocessor as a preset directory."""
        presets.save_preset(self, directory)

    def get_config(self):
        config = super().get_config()
        config.update({name: getattr(self, name) for name in _CONFIG_NAMES})
        config["preprocessor"] = keras.saving.serialize_keras_object(self.preprocessor)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("preprocessor"), dict):
            # Registers the classes that the config names; imported here because it needs TensorFlow.
            from official_coca.preprocessing import preprocessor  # noqa: F401

            config["preprocessor"] = keras.saving.deserialize_keras_object(
                config["preprocessor"], custom_objects=custom_objects
            )
        return cls(**config)


_CONFIG_NAMES = tuple(
    name
    for name in inspect.signature(CoCa.__init__).parameters
    if name not in ("self", "preprocessor", "kwargs")
)


def _unit_length(features):
    return ops.normalize(ops.cast(features, "float32"), axis=-1)


def _check_choice(name, value, choices):
    if value not in choices:
        raise InvalidInputError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")
