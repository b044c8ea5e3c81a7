"""Captioning: what a model writes about images, against what people wrote.

Shapes: B examples of a batch, N images.
"""

import numpy as np

from official_coca.errors import InvalidInputError
from official_coca.evaluation.caption_metrics import score_captions
from official_coca.evaluation.embeddings import batches
from official_coca.models.protocols import Captioner


class CaptioningEvaluator:
    """Captions all images of a data set and scores the captions against the references.

    Args:
        dataset: iterable of {"images": (B, H, W, 3), "texts": rows}; every text of a row is a
            reference caption of its image.
        language_metrics: whether to compute BLEU, ROUGE-L, CIDEr and METEOR besides exact match.
        use_java: whether to use Java's tokenizer and METEOR where Java is there. They take some
            ten seconds, too long for every epoch of a short training.
        verbose: whether to show progress.
        **generate_arguments: passed on to `model.generate`, such as sampler="beam".

    Returns, when called with a model: {"exact_match": share of captions equal to any reference
    after folding of case and white space, "bleu_1", ..., "bleu_4", "rouge_l", "cider", "meteor"}.
    A metric that could not be computed is absent. `details` then holds "captions" (N strings),
    "references" (N lists), "exact_match" (N,) bool, "tokenizer" ("ptb (java)" or "simple") and
    "left_out" (metric name → reason); the last two belong beside every published score.
    """

    def __init__(
        self,
        dataset,
        *,
        language_metrics=True,
        use_java=True,
        verbose=False,
        **generate_arguments,
    ):
        self.dataset = dataset
        self.language_metrics = language_metrics
        self.use_java = use_java
        self.verbose = verbose
        self.generate_arguments = generate_arguments
        self.details = {}

    def __call__(self, model):
        captions, references = self._generate(model)
        matches = exact_matches(captions, references)
        self.details = {"captions": captions, "references": references, "exact_match": matches}
        scores = {"exact_match": float(np.mean(matches))}
        if self.language_metrics:
            result = score_captions(captions, references, use_java=self.use_java)
            self.details.update(tokenizer=result.tokenizer, left_out=result.left_out)
            scores.update(result.scores)
        return scores

    def _generate(self, model):
        if not isinstance(model, Captioner):
            raise InvalidInputError(
                f"{type(model).__name__} does not generate text; captioning needs a Captioner, "
                "that is a model with generate, init_cache and decode_step"
            )
        captions, references = [], []
        for images, rows in batches(self.dataset, self.verbose):
            for row in rows:
                if not row:
                    raise InvalidInputError(
                        f"image {len(references)} of the evaluation set has no reference caption; "
                        "captioning needs at least one for every image"
                    )
                references.append(row)
            written = model.generate(images, **self.generate_arguments)
            if not all(isinstance(caption, str) for caption in written):
                raise InvalidInputError(
                    f"{type(model).__name__}.generate returned token ids; attach a preprocessor "
                    "to the model so that it returns text"
                )
            captions.extend(written)
        return captions, references


def exact_matches(captions, references):
    """Returns (N,) bool: whether the caption equals any reference but for case and white space."""
    return np.array(
        [
            _fold(caption) in {_fold(reference) for reference in group}
            for caption, group in zip(captions, references, strict=True)
        ]
    )


def _fold(text):
    return " ".join(text.casefold().split())
