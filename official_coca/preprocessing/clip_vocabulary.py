"""The vocabulary of CLIP's byte-pair encoding: the order of its ids and the files it comes in.

Ids, as in OpenAI's `SimpleTokenizer`: 0..255 are the bytes inside a word, 256..511 the bytes that
end one, 512 + r is what merge r makes, and the last two begin and end a text.
"""

import gzip
import itertools
import json
import os
import zlib

import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
FAST_TOKENIZER_FILE = "tokenizer.json"
OPENAI_FILE = "bpe_simple_vocab_16e6.txt.gz"
# Files beside a vocabulary; where they are alone, the vocabulary got lost.
_COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_DEFAULT_MERGES = os.path.join(os.path.dirname(__file__), "assets", "clip_merges.txt.gz")

NUM_BYTES = 256
NUM_MERGES = 48894  # 49152 - 256 - 2 lines of OpenAI's file are used
_SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")  # their names in Hugging Face's files
_END_OF_WORD = "</w>"
_PRINTING = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HEADER = "#version: 0.2"
_ADVICE = "give the files of a CLIP tokenizer, or take them away to use the built-in vocabulary"


class CLIPVocabulary:
    """What the ids stand for.

    Args:
        merges: the merges in their order, one `first second` a line.
        origin: the words an error calls them by.

    Attributes:
        merges: the text of the merges.
        tokens: all tokens but the last two as Hugging Face's files write them, in order of ids.
        token_bytes: the bytes of each token, in order of ids; `</w>` ends a word.
        pairs: (NUM_MERGES, 2) int64, the ids that each merge joins.
    """

    def __init__(self, merges, origin):
        lines = merges.replace("\r\n", "\n").split("\n")
        if len(lines) != NUM_MERGES:
            raise InvalidInputError(
                f"{origin} has {len(lines)} merges where CLIP's vocabulary has {NUM_MERGES}; "
                f"{_ADVICE}"
            )
        self.merges = "\n".join(lines)
        byte_values, symbol_of = _bytes_in_order(), _symbols()
        symbols = [symbol_of[value] for value in byte_values]
        self.tokens = symbols + [symbol + _END_OF_WORD for symbol in symbols]
        self.tokens += self.merges.replace(" ", "").split("\n")
        self.pairs = _pairs(lines, self.tokens, origin)
        token_bytes = [bytes([value]) for value in byte_values]
        token_bytes += [value + _END_OF_WORD.encode() for value in token_bytes]
        for first, second in self.pairs.tolist():
            token_bytes.append(token_bytes[first] + token_bytes[second])
        self.token_bytes = token_bytes

    def byte_ids(self):
        """Returns (256,) int32: the id of each byte inside a word."""
        return np.argsort(_bytes_in_order()).astype(np.int32)

    def whole_words(self):
        """Returns `(words, token_ids)`: the bytes of every token that ends a word, and its id."""
        ending = _END_OF_WORD.encode()
        ids = [i for i, token in enumerate(self.tokens) if token.endswith(_END_OF_WORD)]
        return [self.token_bytes[i].removesuffix(ending) for i in ids], np.array(ids, np.int32)

    def write(self, directory):
        """Writes `vocab.json` and `merges.txt` as Hugging Face's CLIP tokenizers have them."""
        tokens = [*self.tokens, *_SPECIAL_TOKENS]
        entries = {token: index for index, token in enumerate(tokens)}
        contents = {
            VOCABULARY_FILE: json.dumps(entries, ensure_ascii=False),
            MERGES_FILE: f"{_HEADER}\n{self.merges}\n",
        }
        tf.io.gfile.makedirs(str(directory))
        for name, text in contents.items():
            with tf.io.gfile.GFile(os.path.join(directory, name), "wb") as file:
                file.write(text.encode("utf-8"))


def _pairs(lines, tokens, origin):
    """Returns (NUM_MERGES, 2) int64: the ids that the merge of each line joins."""
    unknown = len(tokens)
    # Of equal tokens the first, so that a later one shows by an id that is not its own.
    ids = dict(zip(reversed(tokens), range(len(tokens) - 1, -1, -1)))
    parts = [part for line in lines for part in line.partition(" ")[::2]]
    pairs = np.array([ids.get(part, unknown) for part in parts], np.int64).reshape(-1, 2)
    ends_word = np.array([token.endswith(_END_OF_WORD) for token in tokens] + [False])
    own_ids = np.arange(2 * NUM_BYTES, len(tokens))
    is_new = np.array([ids[token] for token in tokens[2 * NUM_BYTES :]]) == own_ids
    joins_earlier = (pairs < own_ids[:, np.newaxis]).all(axis=1)
    fits = is_new & joins_earlier & ~ends_word[pairs[:, 0]]
    if not fits.all():
        number = int(np.argmin(fits))
        raise InvalidInputError(
            f"{origin}: merge {number}, {lines[number]!r}, does not belong to a CLIP vocabulary; "
            f"{_ADVICE}"
        )
    return pairs


def default_merges():
    """Returns the text of the merges that ship with this package (MIT, assets/LICENSE_CLIP)."""
    with gzip.open(_DEFAULT_MERGES, "rt", encoding="utf-8") as file:
        return _without_header(file.read())


def read_vocabulary(directory):
    """Returns the vocabulary in the tokenizer files of `directory`, or None if it has none.

    Read is the first of: `vocab.json` with `merges.txt`, `tokenizer.json`, and OpenAI's
    `bpe_simple_vocab_16e6.txt.gz`.

    Raises:
        InvalidInputError: if a file is missing from a set, is damaged or is not CLIP's.
    """
    paths = {
        name: os.path.join(directory, name)
        for name in (
            VOCABULARY_FILE, MERGES_FILE, FAST_TOKENIZER_FILE, OPENAI_FILE, *_COMPANION_FILES
        )
    }  # fmt: skip
    present = [name for name, path in paths.items() if tf.io.gfile.exists(path)]
    if VOCABULARY_FILE in present and MERGES_FILE in present:
        text = _read_text(paths[MERGES_FILE])
        vocabulary = CLIPVocabulary(_without_header(text), _called(paths[MERGES_FILE]))
        entries = _read_json(paths[VOCABULARY_FILE])
        _check_entries(entries, vocabulary, paths[VOCABULARY_FILE])
        return vocabulary
    if FAST_TOKENIZER_FILE in present:
        return _read_fast_tokenizer(paths[FAST_TOKENIZER_FILE])
    if OPENAI_FILE in present:
        return _read_openai_file(paths[OPENAI_FILE])
    if present:
        missing = MERGES_FILE if VOCABULARY_FILE in present else VOCABULARY_FILE
        raise InvalidInputError(
            f"tokenizer file {paths[missing]!r} does not exist, but {present[0]} beside it does; "
            f"{_ADVICE}"
        )
    return None


def _read_fast_tokenizer(path):
    content = _read_json(path)
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("merges"), list):
        raise InvalidInputError(f"{_called(path)} is not a byte-pair tokenizer; {_ADVICE}")
    merges = [line if isinstance(line, str) else " ".join(line) for line in model["merges"]]
    vocabulary = CLIPVocabulary("\n".join(merges), _called(path))
    _check_entries(model.get("vocab"), vocabulary, path)
    return vocabulary


def _read_openai_file(path):
    try:
        text = gzip.decompress(_read_bytes(path)).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise InvalidInputError(f"{_called(path)} is damaged; {_ADVICE}") from None
    lines = itertools.islice(_without_header(text).split("\n"), NUM_MERGES)
    return CLIPVocabulary("\n".join(lines), _called(path))


def _check_entries(entries, vocabulary, path):
    """Raises `InvalidInputError` unless a file gives every token the id its merge has."""
    count = len(vocabulary.tokens) + len(_SPECIAL_TOKENS)
    size = len(entries) if isinstance(entries, dict) else 0
    if size not in (count, len(vocabulary.tokens)):
        raise InvalidInputError(
            f"{_called(path)} has {size} tokens where CLIP's vocabulary has {count}; {_ADVICE}"
        )
    for token_id, token in enumerate(vocabulary.tokens):
        if entries.get(token) != token_id:
            raise InvalidInputError(
                f"{_called(path)}: the id of {token!r} is {entries.get(token)} where its merges "
                f"make it {token_id}; {_ADVICE}"
            )


def _read_json(path):
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{_called(path)} is damaged: no JSON from line {error.lineno} on; {_ADVICE}"
        ) from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{_called(path)} is not a tokenizer's; {_ADVICE}")
    return content


def _read_text(path):
    try:
        return _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{_called(path)} is damaged: not UTF-8; {_ADVICE}") from None


def _read_bytes(path):
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _called(path):
    return f"tokenizer file {str(path)!r}"


def _without_header(text):
    """Returns the lines of a merges file without its first, the version, and without empty ends."""
    first, _, rest = text.partition("\n")
    is_header = first.startswith(("#version", '"bpe_simple_vocab'))
    return (rest if is_header else text).strip("\r\n")


def _bytes_in_order():
    """Returns the bytes in order of their ids: those that print in Latin-1, then the others."""
    return _PRINTING + [value for value in range(NUM_BYTES) if value not in _PRINTING]


def _symbols():
    """Returns the character that stands for each byte in the files: itself, or one from U+0100."""
    others = _bytes_in_order()[len(_PRINTING) :]
    symbols = {value: chr(value) for value in _PRINTING}
    return symbols | {value: chr(NUM_BYTES + position) for position, value in enumerate(others)}
