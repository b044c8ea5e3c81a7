"""CLIP's byte-pair encoding in the graph: the original's ids, saved with the model, for any text.

The fixture holds open_clip's ids: tests/fixtures/make_clip_tokenizer_cases.py.
"""

import gzip
import json
import os
import pathlib
import random
import shutil

import ftfy
import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import clip_vocabulary
from official_coca.preprocessing.clip_cleaning import clean_text
from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer

FIXTURE = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "clip_tokenizer_cases.json.gz"
TEXTS = ["a red cat", "the dog's 7 cats!!!", "", " A  photo\nof the blue seven "]
MORE_CASES = "OFFICIAL_COCA_TOKENIZER_CASES"


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer()


@pytest.fixture(scope="module")
def cases():
    return read_cases(FIXTURE)


@pytest.fixture
def files(tokenizer, tmp_path):
    tokenizer.save_assets(tmp_path)
    return tmp_path


def read_cases(path):
    return json.loads(gzip.decompress(pathlib.Path(path).read_bytes()))


def in_graph(tokenizer, texts):
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    dataset = tf.data.Dataset.from_tensor_slices(encoded).batch(256).map(tokenizer.tokenize)
    return [ids for rows in dataset for ids in rows.to_list()]


def graph_differences(tokenizer, cases):
    """Returns the texts of which the graph makes other ids, and those with a named reason."""
    ids = in_graph(tokenizer, cases["texts"])
    pairs = zip(cases["texts"], ids, cases["token_ids"], strict=True)
    different = [text for text, actual, expected in pairs if actual != expected]
    return different, [text for text in different if has_named_difference(text)]


def has_named_difference(text):
    """Whether ftfy repairs an encoding, or leaves references for a `<`."""
    return (
        ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False)
        or ("<" in text and "\n" in text and "&" in text)
    )


def test_python_strings_have_the_ids_of_the_original(tokenizer, cases):
    assert len(cases["texts"]) >= 600
    actual = tokenizer.tokenize(cases["texts"]).to_list()
    for text, ids, expected in zip(cases["texts"], actual, cases["token_ids"], strict=True):
        assert ids == expected, ascii(text)


def test_graph_differs_only_where_it_is_named(tokenizer, cases):
    different, named = graph_differences(tokenizer, cases)
    assert [ascii(text) for text in different if text not in named] == []
    assert 0 < len(named) < 0.2 * len(cases["texts"])


@pytest.mark.slow
def test_many_more_texts_have_the_ids_of_the_original(tokenizer):
    path = os.environ.get(MORE_CASES)
    if not path:
        pytest.skip(
            f"set {MORE_CASES} to what tests/fixtures/make_clip_tokenizer_cases.py --count=5000 "
            "--seed=1 --output=FILE wrote"
        )
    more = read_cases(path)
    assert tokenizer.tokenize(more["texts"]).to_list() == more["token_ids"]
    different, named = graph_differences(tokenizer, more)
    assert different == named


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("cafÃ©", "café"),
        ("a\u0302\u0323", "\u1ead"),
        ("&ldquo;a\n<b>", '"a\n<b>'),
    ],
    ids=["wrong encoding", "accents out of order", "lines apart"],
)
def test_what_a_graph_cannot_clean(tokenizer, text, cleaned):
    from_python = tokenizer.tokenize(text).numpy().tolist()
    assert from_python == tokenizer.tokenize(tf.constant(cleaned)).numpy().tolist()
    assert from_python != tokenizer.tokenize(tf.constant(text)).numpy().tolist()


def test_decoding_gives_the_texts_of_the_original(tokenizer, cases):
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    rows = [
        (ids, decoded.strip())
        for ids, decoded in zip(cases["token_ids"], cases["decoded"])
        if not special & set(ids)
    ]
    texts = tokenizer.detokenize(tf.ragged.constant([ids for ids, _ in rows], dtype=tf.int32))
    for actual, (_, expected) in zip(texts.numpy(), rows, strict=True):
        assert actual.decode("utf-8").strip() == expected


def test_broken_characters_are_replaced_as_python_does(tokenizer):
    vocabulary = clip_vocabulary.CLIPVocabulary(clip_vocabulary.default_merges(), "merges")
    drawn = random.Random(0)
    rows = [[drawn.randrange(1, drawn.choice((512, 49406))) for _ in range(12)] for _ in range(500)]
    texts = tokenizer.detokenize(np.array(rows)).numpy()
    for row, text in zip(rows, texts):
        joined = b"".join(vocabulary.token_bytes[token_id] for token_id in row)
        expected = joined.decode("utf-8", errors="replace").replace("</w>", " ")
        assert text.decode("utf-8").strip() == expected.strip()


def test_row_ends_at_eos_and_keeps_exclamation_marks(tokenizer):
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    cat = tokenizer.tokenize("cat").numpy().tolist()
    rows = [[bos, *cat, eos, *cat, 0], [bos, 0, 0, *cat, 0, 0], [0, 0, 0, 0, 0], [eos, *cat, 0]]
    token_ids = tf.ragged.constant(rows)
    expected = [b"cat", b"!!cat", b"", b""]
    assert tokenizer.detokenize(token_ids).numpy().tolist() == expected
    assert tf.function(tokenizer.detokenize)(token_ids.to_tensor()).numpy().tolist() == expected
    assert tokenizer.detokenize(np.array(rows[1], np.int64)).numpy() == b"!!cat"
    assert tokenizer.detokenize(np.zeros((0, 5), np.int32)).shape == (0,)
    assert tokenizer.detokenize(np.zeros((2, 0), np.int32)).numpy().tolist() == [b"", b""]


@pytest.mark.parametrize("strange", [49408, 10**6, -1])
def test_ids_outside_the_vocabulary_read_as_unknown(tokenizer, strange):
    assert tokenizer.detokenize([strange, 320]).numpy().decode() == "\N{REPLACEMENT CHARACTER}a"


def test_special_texts_become_special_ids(tokenizer):
    ids = tokenizer.tokenize("a<START_OF_TEXT>b <end_of_text>").numpy().tolist()
    a, b = tokenizer.tokenize("a b").numpy().tolist()
    assert ids == [a, 49406, b, 49407]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)
    assert (tokenizer.pad_token_id, tokenizer.vocabulary_size) == (0, 49408)


def test_all_shapes_of_texts_give_the_same_ids(tokenizer):
    expected = tokenizer.tokenize(TEXTS).to_list()
    assert tokenizer.tokenize(np.array(TEXTS)).to_list() == expected
    assert tokenizer.tokenize(np.array(TEXTS, object)).to_list() == expected
    assert tokenizer.tokenize([text.encode() for text in TEXTS]).to_list() == expected
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == expected
    assert in_graph(tokenizer, TEXTS) == expected
    assert tokenizer.tokenize(TEXTS[1]).numpy().tolist() == expected[1]
    assert tokenizer.tokenize(tf.constant(TEXTS[1])).numpy().tolist() == expected[1]
    ragged = tf.ragged.constant([TEXTS[:1], [], TEXTS[1:]])
    assert tokenizer.tokenize(ragged).to_list() == [expected[:1], [], expected[1:]]
    assert tokenizer.tokenize(np.reshape(TEXTS, (2, 2))).to_list() == [expected[:2], expected[2:]]
    assert tokenizer.tokenize([]).to_list() == []
    assert tokenizer.tokenize(tf.zeros([0], tf.string)).to_list() == []
    assert tokenizer.tokenize(tf.constant(["", ""])).to_list() == [[], []]


def test_bytes_that_are_not_utf8_read_as_replacement_characters(tokenizer):
    expected = tokenizer.tokenize(tf.constant("bad \ufffd byte")).numpy().tolist()
    assert tokenizer.tokenize(b"bad \xff byte").numpy().tolist() == expected
    assert tokenizer.tokenize(tf.constant(b"bad \xff byte")).numpy().tolist() == expected
    assert in_graph(tokenizer, ["\ud800"]) == [tokenizer.tokenize("\ufffd" * 3).numpy().tolist()]


def slow_merges(word, ranks):
    """Merges as the paper says: the pair of the lowest rank first, from left to right."""
    word = list(word)
    while len(word) > 1:
        pairs = list(zip(word, word[1:]))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            return word
        merged, position = [], 0
        while position < len(word):
            both = position + 1 < len(word) and (word[position], word[position + 1]) == best
            merged.append(512 + ranks[best] if both else word[position])
            position += 2 if both else 1
        word = merged
    return word


def test_long_words_merge_as_the_definition_says(tokenizer):
    vocabulary = clip_vocabulary.CLIPVocabulary(clip_vocabulary.default_merges(), "merges")
    ranks = {tuple(pair): rank for rank, pair in enumerate(vocabulary.pairs.tolist())}
    byte_ids = vocabulary.byte_ids()
    drawn = random.Random(0)
    words = ["a" * 999, "ab" * 400, "thethe" * 99, "aab" * 200 + "a"]
    for letters in ("abcdefghijklmnopqrstuvwxyz", "thein", "ae", "aaaab"):
        words += ["".join(drawn.choices(letters, k=drawn.randrange(65, 500))) for _ in range(5)]
    ids = tokenizer.tokenize(tf.constant(words)).to_list()
    for word, actual in zip(words, ids):
        symbols = [int(byte_ids[value]) for value in word.encode()]
        symbols[-1] += 256
        assert actual == slow_merges(symbols, ranks), word


def test_built_in_words_merge_into_their_own_tokens(tokenizer):
    vocabulary = clip_vocabulary.CLIPVocabulary(clip_vocabulary.default_merges(), "merges")
    words, ids = vocabulary.whole_words()
    merged = tf.function(tokenizer._merge_bytes)(tf.constant(words))
    assert merged.to_list() == ids[:, np.newaxis].tolist()


def test_one_very_long_word_does_not_hang_the_batch(tokenizer):
    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=30000))
    rows = tokenizer.tokenize(tf.constant([letters, "cat", "!" * 30000])).to_list()
    assert 10000 < len(rows[0]) < 20000 and rows[1] == tokenizer.tokenize("cat").numpy().tolist()
    assert tokenizer.detokenize(rows[0]).numpy().decode() == letters


def test_saved_files_are_hugging_faces(files, tokenizer):
    entries = json.loads((files / "vocab.json").read_text(encoding="utf-8"))
    assert len(entries) == 49408
    assert (entries["!"], entries["a</w>"], entries["cat</w>"]) == (0, 320, 2368)
    assert (entries["<|startoftext|>"], entries["<|endoftext|>"]) == (49406, 49407)
    lines = (files / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["#version: 0.2", "i n"] and len(lines) == 48895


def test_every_form_of_the_vocabulary_is_read(files, tmp_path_factory):
    merges = clip_vocabulary.default_merges()
    content = {
        "model": {
            "type": "BPE",
            "vocab": json.loads((files / "vocab.json").read_text(encoding="utf-8")),
            "merges": merges.split("\n"),
        }
    }
    as_lines, as_pairs, openai, none = (tmp_path_factory.mktemp("form") for _ in range(4))
    (as_lines / "tokenizer.json").write_text(json.dumps(content))
    content["model"]["merges"] = [line.split(" ") for line in merges.split("\n")]
    (as_pairs / "tokenizer.json").write_text(json.dumps(content))
    text = '"bpe_simple_vocab_16e6.txt#version: 0.2\n' + merges + "\nunused merge\nmore\n"
    (openai / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text.encode()))
    for directory in (files, as_lines, as_pairs, openai):
        assert clip_vocabulary.read_vocabulary(directory).merges == merges
    assert clip_vocabulary.read_vocabulary(none) is None


def test_checkpoint_without_tokenizer_files_gets_the_built_in(tokenizer, files, tmp_path_factory):
    for directory in (files, tmp_path_factory.mktemp("none")):
        copy = CLIPTokenizer.from_checkpoint(directory)
        assert copy.get_config() == {"merges": None}
    assert copy.tokenize(TEXTS).to_list() == tokenizer.tokenize(TEXTS).to_list()


def test_other_merges_are_part_of_the_config(tokenizer):
    merges = clip_vocabulary.default_merges().split("\n")
    swapped = CLIPTokenizer("\n".join([merges[1], merges[0], *merges[2:]]))
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(swapped))
    assert copy.get_config() == swapped.get_config() != tokenizer.get_config()
    assert copy.tokenize(["in the"]).to_list() == swapped.tokenize(["in the"]).to_list()


def test_keras_serialisation_makes_an_equal_tokenizer(tokenizer):
    saved = keras.saving.serialize_keras_object(tokenizer)
    assert len(str(saved)) < 1000
    copy = keras.saving.deserialize_keras_object(saved)
    assert copy.tokenize(TEXTS).to_list() == tokenizer.tokenize(TEXTS).to_list()


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("merges.txt", lambda data: data[:9000], "merges.txt.*merges where CLIP's"),
        ("merges.txt", lambda data: data.replace(b"\nt h\n", b"\nt qqq\n"), "merge 1, 't qqq'"),
        ("merges.txt", lambda data: data.replace(b"\nt h\n", b"\nth\n"), "merge 1, 'th'"),
        ("merges.txt", lambda data: b"\xff" + data, "merges.txt' is damaged: not UTF-8"),
        ("vocab.json", lambda data: data[:-9], "vocab.json' is damaged: no JSON"),
        ("vocab.json", lambda data: b'{"a": 1}', "vocab.json' has 1 tokens"),
        ("vocab.json", lambda data: b"[]", "vocab.json' is not a tokenizer's"),
        ("vocab.json", lambda data: data.replace(b'"in": 512', b'"in": 7'), "id of 'in' is 7"),
    ],
)
def test_damaged_files_are_refused_in_one_line(files, name, change, words):
    damage(files / name, change)
    for read in (CLIPTokenizer.from_checkpoint, CLIPTokenizer.from_assets):
        with pytest.raises(InvalidInputError, match=words) as caught:
            read(files)
        assert "\n" not in str(caught.value) and str(files) in str(caught.value)


@pytest.mark.parametrize("missing, kept", [("merges.txt", "vocab"), ("vocab.json", "merges")])
def test_half_a_vocabulary_is_refused(files, missing, kept):
    (files / missing).unlink()
    with pytest.raises(InvalidInputError, match=f"{missing}' does not exist, but {kept}"):
        CLIPTokenizer.from_checkpoint(files)


def test_other_tokenizers_are_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="vocab.json' does not exist, but tokenizer_config"):
        CLIPTokenizer.from_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {}}}')
    with pytest.raises(InvalidInputError, match="tokenizer.json' is not a byte-pair tokenizer"):
        CLIPTokenizer.from_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(b"abc")[:-3])
    with pytest.raises(InvalidInputError, match="bpe_simple_vocab_16e6.txt.gz' is damaged"):
        CLIPTokenizer.from_checkpoint(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(InvalidInputError, match="vocab.json' does not exist; give a directory"):
        CLIPTokenizer.from_assets(tmp_path)


def test_saved_model_carries_the_vocabulary(tokenizer, tmp_path):
    module = tf.Module()
    module.tokenizer = tokenizer
    module.serve = tf.function(
        lambda texts: tokenizer.detokenize(tokenizer.tokenize(texts)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    texts = loaded.serve(tf.constant(["A red&nbsp;Supercat", "", "ＷＩＤＥ"]))
    assert [text.decode() for text in texts.numpy()] == ["a red supercat", "", "wide"]


def test_tokenizer_outlives_clear_session(tokenizer):
    before = tokenizer.tokenize(TEXTS).to_list()
    keras.utils.clear_session()
    assert tokenizer.tokenize(TEXTS).to_list() == before
    assert in_graph(tokenizer, TEXTS) == before


@pytest.mark.parametrize(
    "text",
    [
        "cafe\u0301",
        "A\u030angstro\u0308m e",
        "a\u0323\u0302 b",
        "\uff76\uff9e",  # narrow katakana
        "e&#769;!",
        "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165",  # Korean
        "\u1161\u11ab \uac01\u11a8 \u1100e",  # Korean letters that make no syllable
    ],
    ids=ascii,
)
def test_graph_composes_letters_and_accents(tokenizer, text):
    (ids,) = in_graph(tokenizer, [text])
    assert ids == tokenizer.tokenize([text]).to_list()[0]
    apart = ["cafe", "\u0301"]  # of two texts
    assert in_graph(tokenizer, apart) == tokenizer.tokenize(apart).to_list()


def test_cleaning_lowers_what_the_original_lowers():
    assert clean_text("ΟΔΟΣ &amp;amp; İI &lt;b&gt; ﬁne“”") == 'οδος & i̇i <b> fine""'
