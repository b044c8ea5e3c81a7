"""BLEU-1..4, ROUGE-L, CIDEr and METEOR of a set of captions, by pycocoevalcap's own code.

METEOR and the tokenizer behind published scores are Java programs. Where Java is missing, METEOR
is left out and the "simple" tokenizer stands in; the result says so.
"""

import contextlib
import dataclasses
import subprocess
import threading

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from official_coca.evaluation import caption_tokenizers
from official_coca.evaluation.caption_tokenizers import PTB_JAVA, SIMPLE

NO_JAVA = "no Java program was found on PATH"
_SECONDS_PER_CAPTION = 1.0  # METEOR scores a hundred in a second; slower than this it is stuck.


@dataclasses.dataclass(frozen=True)
class CaptionScores:
    """What `score_captions` found.

    Attributes:
        scores: metric name → corpus score, for the metrics that could be computed.
        tokenizer: "ptb (java)" or "simple"; only scores under the first compare with papers.
        left_out: metric name → why it has no score; "tokenizer" → why it is the simple one.
    """

    scores: dict
    tokenizer: str
    left_out: dict


def score_captions(candidates, references, *, use_java=True):
    """Scores `candidates`, a list of N captions, against N lists of reference captions.

    CIDEr weighs words by their rarity among these N reference sets, so its value belongs to the
    set: a score of a subset does not compare with the score of the whole.
    """
    left_out = {}
    if not use_java:
        left_out = dict.fromkeys(("tokenizer", "meteor"), "Java was switched off")
    elif caption_tokenizers.java_path() is None:
        left_out = dict.fromkeys(("tokenizer", "meteor"), NO_JAVA)

    texts = [*candidates, *(text for group in references for text in group)]
    tokenized = None
    if "tokenizer" not in left_out:
        try:
            tokenized = caption_tokenizers.ptb_tokenize(texts)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            left_out["tokenizer"] = f"the Java tokenizer failed: {error}"
    tokenizer = SIMPLE if tokenized is None else PTB_JAVA
    if tokenized is None:
        tokenized = [caption_tokenizers.simple_tokenize(text) for text in texts]

    remaining = iter(tokenized)
    candidates = [next(remaining) for _ in candidates]
    references = [[next(remaining) for _ in group] for group in references]
    scores = score_tokenized_captions(candidates, references)
    if "meteor" not in left_out:
        try:
            scores["meteor"] = meteor(candidates, references)
        except (OSError, RuntimeError, ValueError) as error:
            left_out["meteor"] = f"METEOR failed: {error}"
    return CaptionScores(scores=scores, tokenizer=tokenizer, left_out=left_out)


def score_tokenized_captions(candidates, references):
    """Returns {"bleu_1": ..., "rouge_l": ..., "cider": ...}; tokens are separated by spaces."""
    truth, answers = _by_number(candidates, references)
    bleu, _ = Bleu(4).compute_score(truth, answers, verbose=0)
    rouge, _ = Rouge().compute_score(truth, answers)
    cider, _ = Cider().compute_score(truth, answers)
    scores = {f"bleu_{order}": float(value) for order, value in enumerate(bleu, start=1)}
    return {**scores, "rouge_l": float(rouge), "cider": float(cider)}


def meteor(candidates, references):
    """Returns the METEOR 1.5 corpus score of tokenized captions.

    The Java process ends with this call, whatever happens in it: pycocoevalcap leaves that to
    the garbage collector, which waits for ever on a lock that a failed run never gave back.
    """
    separator_free = [text.replace("|||", " ") for text in candidates]
    references = [[text.replace("|||", " ") for text in group] for group in references]
    truth, answers = _by_number(separator_free, references)
    scorer = Meteor()
    process = scorer.meteor_p
    watchdog = threading.Timer(60 + _SECONDS_PER_CAPTION * len(candidates), process.kill)
    watchdog.start()
    try:
        score, _ = scorer.compute_score(truth, answers)
        return float(score)
    except ValueError as error:  # An empty answer is no number: the process has died.
        process.kill()
        reason = process.stderr.read().decode(errors="replace").strip().splitlines()
        raise RuntimeError(reason[-1] if reason else "its process gave no answer") from error
    finally:
        watchdog.cancel()
        if scorer.lock.locked():
            scorer.lock.release()
        process.kill()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.stderr.close()
        process.wait()


def _by_number(candidates, references):
    truth = dict(enumerate(references))
    answers = {number: [text] for number, text in enumerate(candidates)}
    return truth, answers
