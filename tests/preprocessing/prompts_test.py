"""Label sentences follow their seed; alt-text reads as in a browser."""

import html
import html.entities
import pathlib
import random
import re

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.prompts import clean_alt_text, label_sentences, load_templates

TEMPLATES = ["a photo of the {}", "{}", "the {} seen from afar"]
PROMPTS = pathlib.Path(__file__).resolve().parents[2] / "data" / "prompts"


def sentences(rows, templates=TEMPLATES, seed=(1, 2)):
    drawn = label_sentences(tf.ragged.constant(rows), templates, seed)
    return [sentence.decode() for sentence in drawn.numpy()]


def test_label_names_are_shuffled_within_their_row_and_put_into_templates():
    drawn = sentences([["cat", "animal"], ["dog"]] * 200)
    orders = ["cat, animal", "animal, cat"]
    assert set(drawn[::2]) == {
        template.format(order) for template in TEMPLATES for order in orders
    }
    assert set(drawn[1::2]) == {template.format("dog") for template in TEMPLATES}


def test_sentences_depend_on_the_seed_alone():
    rows = [["cat", "animal"]] * 50
    assert sentences(rows) == sentences(rows) != sentences(rows, seed=(1, 3))


def test_names_with_odd_characters_are_kept():
    assert set(sentences([["\\1 {} 100%", "café"]] * 20, ["see {}!"])) == {
        "see \\1 {} 100%, café!", "see café, \\1 {} 100%!"
    }  # fmt: skip


def test_no_rows_give_no_sentences():
    rows = tf.RaggedTensor.from_row_lengths(tf.constant([], tf.string), tf.constant([], tf.int64))
    assert label_sentences(rows, TEMPLATES, (1, 2)).shape == (0,)


def folded(text):
    spaces = "[\x00-\x20\x7f-\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff]+"
    return re.sub(spaces, " ", html.unescape(text)).strip(" ")


def test_references_resolve_as_in_python():
    names = list(html.entities.html5)
    numbers = [
        *range(300), 0xD800, 0xDFFF, 0xE000, 0xFDD0, 0xFDEF, 0xFFFE, 0x1F600, 0x10FFFF, 0x110000,
        10**20,
    ]  # fmt: skip
    texts = [f"a&{name}b c" for name in names]
    texts += [f"x &{name.rstrip(';')}q; y" for name in names]
    texts += [f"&#{number};" for number in numbers] + [f"&#X00{number:x} z" for number in numbers]
    texts += ["&amp;amp;", "& &&", "&#;&#x;&#xg", "&notit; &notin; &ltimes &lt5", "é&eacute;&é;"]
    generator = random.Random(0)
    alphabet = "&#xXaAbB109;; ltgmp\u00e9\n<"
    texts += ["".join(generator.choices(alphabet, k=12)) for _ in range(2000)]
    in_graph = tf.function(clean_alt_text)(tf.constant(texts)).numpy()
    assert [text.decode() for text in in_graph] == [folded(text) for text in texts]
    np.testing.assert_array_equal(clean_alt_text(texts), in_graph)


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("red<br>sofa<BR/>  in\ta room", "red sofa in a room"),
        ('<p class="a b"><a href=\'u\' title="x">Sofa</a></p>', "Sofa"),
        ("a &lt;br&gt; b <!-- two\nlines --> c", "a b c"),
        ("\xa0 \u3000&nbsp;\u200b\n", ""),
        ("<PERSON> plays I <3 u, if a<b and c>d", "<PERSON> plays I <3 u, if a<b and c>d"),
        ("Tom &amp; J&#233;r&ocirc;me&#39;s", "Tom & Jérôme's"),
        (b"bad \xff byte &amp; all", "bad \ufffd byte & all"),
    ],
)
def test_alt_text_is_cleaned(raw, clean):
    assert clean_alt_text(raw).numpy().decode() == clean


def test_any_shape_works_inside_tf_data():
    batch = tf.constant([["a&amp;b", " c "], ["", "d"]])
    dataset = tf.data.Dataset.from_tensors(batch).map(clean_alt_text)
    assert dataset.element_spec.shape == (2, 2)
    assert next(iter(dataset)).numpy().tolist() == [[b"a&b", b"c"], [b"", b"d"]]


def test_shipped_templates_load():
    assert len(load_templates(PROMPTS / "default.txt")) == 10
    assert len(set(load_templates(PROMPTS / "clip_imagenet_80.txt"))) == 80


@pytest.mark.parametrize(
    "content, words",
    [
        (b"a photo\n", "line 1: 'a photo' needs exactly one"),
        (b"# ok\n\n{} and {}\n", "line 3"),
        (b"# nothing\n", "has no template"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)
def test_wrong_template_file_is_named(tmp_path, content, words):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"mine.txt.*{words}"):
        load_templates(path)


def test_byte_order_mark_is_no_part_of_the_first_template(tmp_path):
    (tmp_path / "templates.txt").write_text("\ufeffa {}\n", encoding="utf-8")
    assert load_templates(tmp_path / "templates.txt") == ("a {}",)


def test_missing_template_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="absent.txt.*cannot be read"):
        load_templates(tmp_path / "absent.txt")
