"""How evaluation, serving and generation see a model.

Shapes: B examples, E embedding width, K beams of an example, V vocabulary.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class DualEncoder(Protocol):
    """A model with one embedding space for images and texts."""

    def encode_image(self, images):
        """Images → (B, E) float32, L2-normalised."""

    def encode_text(self, texts):
        """Token ids or strings → (B, E) float32, L2-normalised."""


@runtime_checkable
class Captioner(Protocol):
    """A model that writes text about images."""

    def generate(self, images, prompt=None, sampler="greedy", max_length=64):
        """Images → captions."""

    def init_cache(self, images, max_length):
        """Images → the nested dict of tensors that `decode_step` reads and renews."""

    def decode_step(self, token_ids, cache, index):
        """(B * K, 1) tokens at position `index` → (B * K, V) float32 logits and the new cache."""


@runtime_checkable
class GroupCaptioner(Captioner, Protocol):
    """A captioner whose images can be encoded apart from writing; of this package's layers."""

    compute_dtype: str
    # Sizes of the axes of what `decode_step` computes, but for rows and positions.
    decoding_widths: tuple

    def image_cache(self, images):
        """The part of `init_cache` that is made of the images."""

    def token_cache(self, batch_size, max_length):
        """The rest of it."""

    def generate_from_cache(self, cache, prompt_token_ids, prompt_mask, seed, sampler, max_length):
        """What `init_cache` returned → {"token_ids": (B, T), "scores": (B,)}."""
