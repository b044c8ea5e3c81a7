"""Behaviour of checked configuration sections."""

import dataclasses

import pytest

from official_coca.configs.strict_config import (
    OpenConfig,
    StrictConfig,
    check_types_and_values,
    choice,
    number,
)
from official_coca.errors import InvalidInputError


@dataclasses.dataclass
class Leaf(StrictConfig):
    count: int = number(3, minimum=1, maximum=9)
    rate: float = 1.0
    limit: int | None = None
    colour: str = choice("red", ("red", "blue"))
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    anything: OpenConfig = dataclasses.field(default_factory=OpenConfig)


@dataclasses.dataclass
class Tree(StrictConfig):
    leaf: Leaf = dataclasses.field(default_factory=Leaf)
    leaves: list[Leaf] = dataclasses.field(default_factory=lambda: [Leaf(), Leaf(count=5)])


def overridden(changes):
    tree = Tree()
    tree.override(changes)
    check_types_and_values(tree)
    return tree


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"leaf": {"coutn": 1}}, ["'coutn'", "Leaf", "did you mean 'count'"]),
        ({"leaves": [{"count": 1}, {"width": 2}]}, ["'width'", "Leaf"]),
        ({"leaves": [{"width": 2}]}, ["'width'", "Leaf"]),
        ({"leaf": 3}, ["leaf=3", "section with the keys count"]),
        ({"leaf": None}, ["leaf=None", "section"]),
        ({"leaf": {"count": "abc"}}, ["leaf.count='abc'", "expected int"]),
        ({"leaf": {"count": True}}, ["leaf.count=True", "expected int"]),
        ({"leaf": {"count": 2.5}}, ["leaf.count=2.5", "expected int"]),
        ({"leaf": {"count": {"a": 1}}}, ["leaf.count={'a': 1}", "expected int"]),
        ({"leaf": {"rate": "1"}}, ["leaf.rate='1'", "expected a number"]),
        ({"leaf": {"limit": "x"}}, ["leaf.limit='x'", "int or null"]),
        ({"leaf": {"names": "abc"}}, ["leaf.names='abc'", "list of str"]),
        ({"leaf": {"names": ["a", 3]}}, ["leaf.names=['a', 3]", "list of str"]),
        ({"leaves": [1]}, ["leaves=[1]", "list of a section"]),
        ({"leaves": [{"count": 1}, {"rate": False}]}, ["leaves[1].rate=False"]),
        ({"leaf": {"count": 0}}, ["leaf.count=0", "at least 1"]),
        ({"leaf": {"count": 10}}, ["leaf.count=10", "at most 9"]),
        ({"leaf": {"colour": "green"}}, ["leaf.colour='green'", "red, blue"]),
    ],
)
def test_wrong_key_type_or_value_is_one_line_that_names_it(changes, words):
    with pytest.raises(InvalidInputError) as error:
        overridden(changes)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_right_values_are_taken():
    tree = overridden({"leaf": {"rate": 2, "limit": 4, "names": []}, "leaves": [{"count": 9}]})
    assert (tree.leaf.rate, tree.leaf.limit, tree.leaf.names) == (2, 4, [])
    assert [leaf.count for leaf in tree.leaves] == [9]


def test_list_of_the_same_length_is_changed_element_by_element():
    tree = overridden({"leaves": [{"rate": 7.0}, {"rate": 8.0}]})
    assert [(leaf.count, leaf.rate) for leaf in tree.leaves] == [(3, 7.0), (5, 8.0)]


def test_open_section_takes_new_keys_more_than_once():
    tree = Tree()
    tree.override({"leaf": {"anything": {"a": 1}}})
    tree.override({"leaf": {"anything": {"b": [2, 3]}}})
    assert tree.leaf.anything.as_dict() == {"a": 1, "b": [2, 3]}
