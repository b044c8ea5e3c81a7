"""Tokenization of captions for the caption metrics: Stanford's where there is Java, ours elsewhere.

Published BLEU, ROUGE-L, CIDEr and METEOR scores are computed on the output of Stanford's Penn
Treebank tokenizer with punctuation removed (Chen et al. 2015, arXiv 1504.00325, section 3). That
tokenizer is a Java program inside pycocoevalcap. `simple_tokenize` imitates it with one regular
expression, so that scores are comparable, though not identical, on a machine without Java.
"""

import pathlib
import re
import shutil
import subprocess

import pycocoevalcap

PTB_JAVA = "ptb (java)"
SIMPLE = "simple"

# The tokens that pycocoevalcap removes. Its list holds "-LRB-" in capitals while the tokens are
# in lower case, so brackets stay in: published scores contain them, and so do ours.
_REMOVED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_FOLDED_CHARACTERS = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "...", "£": "#", "€": "$"}
)
# Words that keep the full stop behind them.
_ABBREVIATIONS = (
    "mr|mrs|ms|dr|drs|prof|sen|rep|lt|col|gen|rev|sgt|capt|hon|gov|pres|mt|st|rd|ave|blvd|etc|vs"
    "|jr|sr|inc|corp|ltd|co|cos|bros|dept|univ|est|ft|calif|jan|feb|mar|apr|jun|jul|aug|sep|sept"
    "|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri|ph\\.d"
)
_CLITIC = "(?:s|m|d|re|ve|ll)"  # what follows the apostrophe in "she's", "we'll"
_TOKEN = re.compile(
    rf"""
    https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.[\w.-]+ | @\w+ | <\w+>    # addresses, tags
    | (?:{_ABBREVIATIONS})\.(?!\w)                  # mr.
    | [a-z](?:\.[a-z])+\.? | [a-z]\.(?!\w)         # u.s.a.  p.m.  j.
    | can(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:gim|lem)(?=me\b)
    | [+-]?\d+(?:[.,:/-]\d+)+ | [+-]?\.\d+ | [+-]\d+\b | '\d\ds?\b  # 1,000.5  4:30  1/2  '90s
    | \w+?(?=n't\b) | n't\b | '{_CLITIC}\b          # do n't  she 's
    | \w+ (?: (?: -(?!-) | / | \.(?=[a-z]{{2}}) | '(?!{_CLITIC}\b) ) \w+ )*  # half-eaten  o'clock
    | -+ | \.{{3,}} | [!?]+ | \S
    """,
    re.VERBOSE,
)
_EMOJI = re.compile(r"[\U00010000-\U0010ffff]")  # Stanford's tokenizer drops what is beyond 16 bits


def simple_tokenize(text):
    """Returns the lower-case tokens of `text` without punctuation, joined by single spaces."""
    text = _EMOJI.sub(" ", text.translate(_FOLDED_CHARACTERS)).lower()
    tokens = (_BRACKETS.get(token, token) for token in _TOKEN.findall(text))
    return " ".join(token for token in tokens if token not in _REMOVED and token.strip('.-"'))


def java_path():
    """Returns the path of the Java program, or None where there is none."""
    return shutil.which("java")


def ptb_tokenize(texts):
    """Returns a list: every text of `texts` through Stanford's tokenizer, punctuation removed.

    One Java process reads all the texts as UTF-8 whatever the locale, writes no file, and gives
    one line per text. (pycocoevalcap's own wrapper writes into its installation folder and loses
    empty captions at the end.)
    """
    jar = pathlib.Path(pycocoevalcap.__path__[0], "tokenizer", "stanford-corenlp-3.4.1.jar")
    command = [java_path(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    # All white space is folded: a line separator inside a caption would shift the rows below it.
    # Java leaves out an empty last line, so a row that is dropped again closes the input.
    lines = [" ".join(text.split()) for text in texts] + ["end"]
    finished = subprocess.run(
        command, input="\n".join(lines).encode("utf-8"), capture_output=True, check=True
    )
    rows = finished.stdout.decode("utf-8").split("\n")[: len(lines)]
    if len(rows) != len(lines) or rows[-1].strip() != "end":
        raise RuntimeError(f"the Java tokenizer returned {len(rows)} rows for {len(lines)} texts")
    kept = ([word for word in row.strip().split(" ") if word not in _REMOVED] for row in rows[:-1])
    return [" ".join(words) for words in kept]
