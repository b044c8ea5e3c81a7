"""Captions token by token."""

import numpy as np
import pytest

from official_coca.commands.demo.caption_writer import CaptionWriter
from tests.tiny_models import random_images, tiny_coca, tiny_preprocessor


@pytest.mark.parametrize("open_clip_decoding", [False, True])
def test_last_caption_is_that_of_generate(open_clip_decoding):
    model = tiny_coca(preprocessor=tiny_preprocessor(), open_clip_decoding=open_clip_decoding)
    writer = CaptionWriter(model)
    images = random_images(8)
    expected = model.generate(images, sampler="greedy")
    written = [list(writer.write(image)) for image in images]
    assert [captions[-1] if captions else "" for captions in written] == expected
    assert len(set(expected)) > 1


def test_caption_grows_by_a_token_at_a_time(model):
    image = np.asarray(random_images(1))[0]
    captions = list(CaptionWriter(model).write(image))
    assert 1 < len(captions) <= model.max_length
    for caption, longer in zip(captions, captions[1:]):
        assert longer.startswith(caption) and longer != caption
