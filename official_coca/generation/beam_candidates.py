"""Which tokens a beam search goes on with: the best continuations over all beams of a row.

B rows, G groups, K beams of a group, C candidates of a beam, M continuations.
"""

from keras import ops

from official_coca.errors import InvalidInputError
from official_coca.generation.decoding_rules import NEGATIVE_INFINITY
from official_coca.generation.places import gather_places

MOST_CANDIDATES = 2**31 - 1  # `top_k` numbers them in int32


def best_continuations(scores, token_ids, count, handicaps=0.0):
    """The best continuations of each row.

    Args:
        scores: (B, K, C) of each beam's candidates, what its beam has so far included.
        token_ids: (B, K, C).
        count: M, at most K * C.
        handicaps: broadcasts to `scores`; what the order takes off them.

    Returns: four (B, M), best first: the beam that is continued, the token id, the score and the
        score that the order went by. Of equal ones the earlier beam's come first.

    Raises:
        InvalidInputError: K * C are more than can be counted.
    """
    num_beams, width = token_ids.shape[1:]
    if num_beams * width > MOST_CANDIDATES:
        raise InvalidInputError(
            f"beam search would compare {width} continuations of each of {num_beams} beams, more "
            f"than {MOST_CANDIDATES} at once; lower num_beams"
        )
    flat = (-1, num_beams * width)
    order, places = ops.top_k(ops.reshape(scores - handicaps, flat), count)
    token_ids = gather_places(ops.reshape(token_ids, flat), places)
    scores = gather_places(ops.reshape(scores, flat), places)
    return places // width, token_ids, scores, order


def separate_ends(continuations, num_beams, eos_token_id):
    """The hypotheses that end now and the K that go on.

    A hypothesis ends when EOS is among the K best continuations; at most one of each beam does,
    so that 2 * K of them are enough to go on with K.

    Args:
        continuations: what `best_continuations` returns, for M = 2 * K.
        num_beams: K.
        eos_token_id: what ends a hypothesis.

    Returns: beams, token ids and scores, (B, K) each, of those that end, with score -inf where
        there is none, and of those that go on.
    """
    parents, token_ids, scores, order = continuations
    ends = token_ids == eos_token_id
    ended_scores = ops.where(ends, scores, NEGATIVE_INFINITY)
    ended = tuple(part[:, :num_beams] for part in (parents, token_ids, ended_scores))
    _, places = ops.top_k(ops.where(ends, NEGATIVE_INFINITY, order), num_beams)
    opened = tuple(
        gather_places(part, places)
        for part in (parents, token_ids, ops.where(ends, NEGATIVE_INFINITY, scores))
    )
    return ended, opened


def continue_groups(scores, token_ids, num_groups, diversity_penalty, eos_token_id):
    """`separate_ends` of groups that choose one after the other.

    A token's handicap is `diversity_penalty` times the beams of earlier groups that take it now
    (Vijayakumar et al. 2016, arXiv 1610.02424, eq. 4 with Hamming diversity).

    Args:
        scores: (B * G, K, C) as in `best_continuations`; C must leave a group something to choose
            when all that earlier groups took comes last.
        token_ids: (B * G, K, C).
        num_groups: G.
        diversity_penalty: number.
        eos_token_id: what ends a hypothesis.
    """
    num_beams, width = token_ids.shape[1:]
    grouped = (-1, num_groups, num_beams, width)
    scores, token_ids = ops.reshape(scores, grouped), ops.reshape(token_ids, grouped)
    results, handicaps, taken = [], 0.0, []
    for group in range(num_groups):
        if taken:
            repeats = token_ids[:, group, :, :, None] == ops.concatenate(taken, 1)[:, None, None]
            handicaps = diversity_penalty * ops.sum(ops.cast(repeats, "float32"), axis=-1)
        continuations = best_continuations(
            scores[:, group], token_ids[:, group], 2 * num_beams, handicaps
        )
        results.append(separate_ends(continuations, num_beams, eos_token_id))
        taken.append(results[-1][1][1])
    return tuple(
        tuple(ops.reshape(ops.stack(parts, axis=1), (-1, num_beams)) for parts in zip(*kind))
        for kind in zip(*results)
    )
