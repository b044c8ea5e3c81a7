"""Tests of the demo's report, from made-up arrays."""

import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from official_coca.errors import InvalidInputError
from official_coca.evaluation.captioning import CaptioningEvaluator
from official_coca.evaluation.retrieval import RetrievalEvaluator
from official_coca.evaluation.zero_shot import ZeroShotEvaluator
from official_coca.tools import report_charts, report_pictures, report_sections
from official_coca.tools.digits_report import read_log, write_report

LOG = """step,seconds,loss,captioning_loss,labels/captioning_loss,scenes/captioning_loss,val_loss
10,1.0,5.0,2.0,1.5,2.5,NA
20,2.0,4.0,1.5,1.0,2.0,NA
"""
NAMES = ["zero", "one", "two"]
METRICS = {
    "zero_shot_top1": 0.75,
    "caption_exact_match": 0.5,
    "retrieval_i2t_r1": 0.625,
    "retrieval_t2i_r1": 0.9,
    "train_seconds": 131.4,
    "cider": 1.5,
}


class PageReader(html.parser.HTMLParser):
    """Collects what a browser would load, the sections, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.sections, self.open_tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        assert tag not in ("script", "link", "iframe")
        if tag not in ("img", "meta"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def parts():
    """The arguments of `write_report` but for the path."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(4, 8, 8, 3), dtype=np.uint8)
    return {
        "metrics": METRICS,
        "zero_shot_details": {
            "class_names": NAMES,
            "labels": np.array([0, 1, 2, 1]),
            "predictions": np.array([0, 1, 1, 1]),
            "images": images,
        },
        "retrieval_details": {
            "images": images,
            "texts": ["a <red> zero", "one", "two", "three", "four"],
            "text_image_index": np.array([0, 0, 1, 2, 3]),
            "image_to_text_ranks": np.array([0, 0, 0, 1]),
            "text_to_image_ranks": np.array([0, 0, 0, 0, 2]),
            "image_to_text_top": np.array([[0, 2], [2, 1], [3, 4], [3, 4]]),
            "text_to_image_top": np.array([[0, 1], [0, 1], [1, 2], [2, 3], [1, 2]]),
        },
        "captioning_details": {
            "images": images,
            "captions": ["a red one", "a red two", "", "x"],
            "references": [["a red one"], ["a green three", "a blue two"], ["one"], ["x"]],
            "exact_match": np.array([True, False, False, True]),
            "tokenizer": "simple",
            "left_out": {"tokenizer": "no Java", "meteor": "no Java"},
        },
        "attention": {
            "images": images.astype("float32") / 127.5 - 1,
            "weights": generator.random((4, 2, 3, 16)),
            "grid": (4, 4),
            "titles": ["first", "second", "third", "fourth"],
        },
        "embeddings": {
            "image_embeddings": generator.normal(size=(4, 5)),
            "image_labels": np.array([0, 1, 2, 1]),
            "text_embeddings": generator.normal(size=(3, 5)),
            "text_labels": np.array([0, 1, 2]),
            "class_names": NAMES,
        },
        "facts": {"model": "coca & co"},
    }


@pytest.fixture(name="page", scope="module")
def fixture_page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    (directory / "training_log.csv").write_text(LOG)
    write_report(
        directory / "new" / "report.html", log_csv=directory / "training_log.csv", **parts()
    )
    return (directory / "new" / "report.html").read_text(encoding="utf-8")


def visible_text(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</head>")[1]))


class NamingModel:
    """Knows three names and three grey levels."""

    def encode_image(self, images):
        return np.eye(3)[[int(image[0, 0, 0]) for image in images]]

    def encode_text(self, texts):
        return np.eye(3)[[NAMES.index(text) for text in texts]]

    def generate(self, images, prompt=None, sampler="greedy", max_length=64):
        return [NAMES[int(image[0, 0, 0])] for image in images]

    def init_cache(self, images, max_length):
        raise NotImplementedError

    def decode_step(self, token_ids, cache, index):
        raise NotImplementedError


def test_details_of_the_evaluators_make_a_page(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    images = np.tile(np.arange(3, dtype="float32")[:, None, None, None], (1, 8, 8, 3))
    dataset = [{"images": images, "texts": [[name] for name in NAMES]}]
    details = {}
    for name, evaluator in {
        "zero_shot": ZeroShotEvaluator(dataset, NAMES, ["{}"]),
        "retrieval": RetrievalEvaluator(dataset),
        "captioning": CaptioningEvaluator(dataset, use_java=False),
    }.items():
        evaluator(NamingModel())
        details[f"{name}_details"] = {**evaluator.details, "images": images - 1}
    write_report(
        tmp_path / "report.html", log_csv=tmp_path / "log.csv", **{**parts(), **details}
    )
    text = visible_text((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "0 of 3 were read wrong" in text and "3 equal a reference" in text
    assert text.count("found first") == 2 + 6  # two tiles, three queries each way


def test_page_loads_nothing_from_outside(page):
    addresses = PageReader(page).addresses
    assert len(addresses) > 20
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "http://" not in page and "https://" not in page and "url(" not in page


def test_page_has_every_section_and_fits_a_phone(page):
    reader = PageReader(page)
    assert reader.sections == [
        "captions", "zero-shot", "retrieval", "attention", "map", "training", "numbers",
    ]  # fmt: skip
    assert reader.open_tags == []
    assert 'name="viewport"' in page


def test_headline_numbers_are_shown(page):
    text = visible_text(page)
    for number in ("75.0%", "50.0%", "62.5%", "90.0%", "2:11"):
        assert number in text


def test_texts_are_escaped(page):
    assert "a &lt;red&gt; zero" in page and "<red>" not in page
    assert "coca &amp; co" in page


def test_captions_are_marked_and_the_closest_reference_is_shown(page):
    text = visible_text(page)
    assert text.count("✗") == 2
    assert "a <del>red</del> two" in page and "it is: a blue two" in text
    assert "2 equal a reference" in text
    assert "tokenizer 'simple'. METEOR was left out: no Java." in text.replace("&#x27;", "'")


def test_retrieval_frames_the_right_image_and_states_the_place(page):
    # Captions 0, 1, 2 find their image among the two shown, caption 4 does not; caption 3 is left
    # out, as neither one of the first nor a failure.
    assert page.count('<figure class="framed">') == 3
    assert visible_text(page).count("the right one came at place 3") == 1


def test_pictures_are_valid_pngs():
    image = np.full((8, 8, 3), 200, np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(report_pictures.picture_png(image))))
    np.testing.assert_array_equal(decoded, image)


def test_float_pictures_are_spread_from_minus_one_to_one():
    floats = np.array([-1.0, 0.0, 1.0, 1.5], "float32")
    assert report_pictures.to_uint8(floats).tolist() == [0, 128, 255, 255]
    with pytest.raises(InvalidInputError, match="int64"):
        report_pictures.to_uint8(np.array([3]))


@pytest.mark.parametrize("class_token", [0, 1])
def test_attention_is_bright_where_the_weight_is(class_token):
    weights = np.zeros(class_token + 4 * 2, "float32")
    weights[class_token + 5] = 1.0  # row 2, column 1 of a grid of 4 rows and 2 columns
    weights[:class_token] = 9.0
    png = report_pictures.attention_png(np.zeros((8, 8, 3), np.uint8), weights, (4, 2))
    brightness = np.asarray(Image.open(io.BytesIO(png)), "float32").sum(axis=-1)
    row, column = np.unravel_index(brightness.argmax(), brightness.shape)
    height, width = brightness.shape
    assert height / 2 <= row < 3 * height / 4 and column >= width / 2


def test_attention_that_does_not_fit_the_grid_is_reported():
    with pytest.raises(InvalidInputError, match="grid of 3 x 3"):
        report_pictures.attention_png(np.zeros((8, 8, 3), np.uint8), np.zeros(16), (3, 3))


def test_log_without_numbers_or_file_is_reported(tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_log(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("step,loss\n")
    with pytest.raises(InvalidInputError, match="no rows"):
        read_log(tmp_path / "empty.csv")


def test_log_columns_are_numbers_and_empty_ones_are_left_out(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    columns = read_log(tmp_path / "log.csv")
    assert columns["scenes/captioning_loss"].tolist() == [2.5, 2.0]
    assert "val_loss" not in columns


def test_plane_keeps_the_two_greatest_directions():
    points = np.zeros((5, 4))
    points[:, 2] = [-2, -1, 0, 1, 2]
    points[:, 0] = [1, -2, 2, -2, 1]
    points[:, 3] = [0.1, -0.1, 0, -0.1, 0.1]
    places, explained = report_charts.principal_plane(points)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    expected = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.testing.assert_allclose(distances, expected, atol=0.02)
    assert 0.99 < explained < 1.0


def test_plane_of_equal_points_is_one_spot():
    places, explained = report_charts.principal_plane(np.ones((3, 1)))
    np.testing.assert_array_equal(places, np.zeros((3, 2)))
    assert explained == 1.0


def test_words_that_differ_are_marked():
    marked = report_sections.mark_differences("a red three above", "a red four above a one")
    assert marked == "a red <del>three</del> above"
    assert report_sections.mark_differences("", "a") == "<del>(nothing)</del>"
