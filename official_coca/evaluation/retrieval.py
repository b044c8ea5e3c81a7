"""Image-text retrieval: recall at 1, 5 and 10 in both directions, several captions per image.

Pure NumPy below the evaluator. Scores are computed for a part of the queries at a time, so that
5,000 images against 25,000 captions need some 100 MB instead of gigabytes.

Ties count against the model: a wrong candidate that scores as high as the right one, within
float32 rounding, stands before it. A model that embeds everything alike, or gives NaN, so gets 0
and not luck. The price: two images under the very same caption cannot both be found first.

Shapes: N images, T captions, Q queries, K candidates, E embedding width.
"""

import numpy as np

from official_coca.errors import InvalidInputError
from official_coca.evaluation.embeddings import embed_images, embed_texts

# One image embedded twice, in batches of different sizes, differs by about 1e-7.
_TIE_TOLERANCE = 1e-6


class RetrievalEvaluator:
    """Scores how well a dual encoder finds images by caption and captions by image.

    Args:
        dataset: iterable of {"images": (B, H, W, 3), "texts": rows}; every text of a row is a
            caption of its image.
        recall_at: the ranks up to which a hit counts.
        top_count: how many best candidates of each query `details` keeps.
        batch_size: captions embedded at a time.
        verbose: whether to show progress.

    Returns, when called with a model: "i2t_r1", "i2t_r5", "i2t_r10" (image to text: any caption of
    the image among the first K), and "t2i_r1", ... (text to image). `details` then holds "texts"
    (T strings), "text_image_index" (T,), "image_to_text_ranks" (N,), "text_to_image_ranks" (T,)
    (0 is best), "image_to_text_top" (N, top_count) caption numbers, "text_to_image_top"
    (T, top_count) image numbers, "image_embeddings" (N, E), "text_embeddings" (T, E).
    """

    def __init__(
        self, dataset, *, recall_at=(1, 5, 10), top_count=5, batch_size=256, verbose=False
    ):
        self.dataset = dataset
        self.recall_at = tuple(recall_at)
        self.top_count = top_count
        self.batch_size = batch_size
        self.verbose = verbose
        self.details = {}

    def __call__(self, model):
        image_embeddings, rows = embed_images(model, self.dataset, self.verbose)
        texts, text_image_index = flatten_captions(rows)
        text_embeddings = embed_texts(model, texts, self.batch_size, self.verbose)

        image_numbers = np.arange(len(image_embeddings))
        image_side = (image_embeddings, image_numbers)
        text_side = (text_embeddings, text_image_index)
        i2t_ranks, i2t_top = rank_candidates(*image_side, *text_side, self.top_count)
        t2i_ranks, t2i_top = rank_candidates(*text_side, *image_side, self.top_count)
        self.details = {
            "texts": texts,
            "text_image_index": text_image_index,
            "image_to_text_ranks": i2t_ranks,
            "text_to_image_ranks": t2i_ranks,
            "image_to_text_top": i2t_top,
            "text_to_image_top": t2i_top,
            "image_embeddings": image_embeddings,
            "text_embeddings": text_embeddings,
        }
        return {
            **{f"i2t_r{rank}": recall(i2t_ranks, rank) for rank in self.recall_at},
            **{f"t2i_r{rank}": recall(t2i_ranks, rank) for rank in self.recall_at},
        }


def rank_candidates(
    queries, query_groups, candidates, candidate_groups, top_count=10, chunk_size=256
):
    """Ranks all candidates for every query by their dot product.

    A candidate is right when its group equals the query's. A query's rank is the number of wrong
    candidates that score no lower than its best right one.

    Args:
        queries: (Q, E).
        query_groups: (Q,) integers.
        candidates: (K, E).
        candidate_groups: (K,) integers.
        top_count: how many best candidates to return.
        chunk_size: queries scored at a time.

    Returns: (Q,) ranks from 0, and (Q, min(top_count, K)) candidate numbers, best first.
    """
    query_groups, candidate_groups = np.asarray(query_groups), np.asarray(candidate_groups)
    top_count = min(top_count, len(candidates))
    ranks = np.empty(len(queries), dtype=np.int64)
    top = np.empty((len(queries), top_count), dtype=np.int64)
    for start in range(0, len(queries), chunk_size):
        rows = slice(start, start + chunk_size)
        scores = queries[rows] @ candidates.T
        right = query_groups[rows, None] == candidate_groups[None, :]
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        # "Not below" instead of "above or equal": NaN is then never a hit.
        ahead = ~(scores < best - _TIE_TOLERANCE) & ~right
        ranks[rows] = ahead.sum(axis=1)
        top[rows] = _best_columns(scores, top_count)
    return ranks, top


def recall(ranks, count):
    """Returns the share of queries whose right candidate is among the first `count`."""
    return float(np.mean(np.asarray(ranks) < count))


def flatten_captions(rows):
    """N rows of captions → a list of T captions and the (T,) numbers of their images."""
    without = [number for number, row in enumerate(rows) if not row]
    if without:
        raise InvalidInputError(
            f"image {without[0]} of the evaluation set has no caption; retrieval needs at least "
            "one for every image"
        )
    texts = [text for row in rows for text in row]
    return texts, np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def _best_columns(scores, count):
    """(Q, K) scores → (Q, count) column numbers, best first."""
    scores = np.nan_to_num(scores, nan=-np.inf)
    columns = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
