"""The files of the page: all are served, and none needs anything from elsewhere."""

import pathlib
import re
import tomllib

from official_coca.commands.demo import page_files

PAGE = pathlib.Path(page_files.__file__).parent / "page"
ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_served_files_are_those_of_the_folder_and_of_the_package():
    assert {path.name for path in PAGE.iterdir()} == set(page_files.PAGE_FILES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]
    assert data["official_coca.commands.demo"] == ["page/*"]


def test_page_names_no_other_address():
    for path in PAGE.iterdir():
        assert not re.search(r"(?:https?:)?//[\w.-]+\.\w", path.read_text(encoding="utf-8")), path


def test_no_text_becomes_markup_or_program():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert danger not in text, f"{path.name}: {danger}"
        assert path.suffix != ".html" or not re.search(r"<script>|\son\w+=|\sstyle=", text)


def test_scripts_find_every_element_they_ask_for():
    identifiers = set(re.findall(r'id="(\w+)"', (PAGE / "page.html").read_text(encoding="utf-8")))
    for path in PAGE.glob("*.js"):
        asked = re.findall(r'getElementById\("(\w+)"\)', path.read_text(encoding="utf-8"))
        assert set(asked) <= identifiers, path.name
