"""The newest whole version is served; others are left alone, or let go when nobody uses them."""

import os

import pytest

from official_coca.serving import model_versions
from official_coca.serving.model_versions import ModelVersions
from official_coca.serving.request_error import RequestError


class Version:
    """Loads where saved_model.pb says "whole"."""

    def __init__(self, number, directory):
        with open(os.path.join(directory, "saved_model.pb")) as file:
            if not file.read().startswith("whole"):
                raise ValueError("half a\nversion")
        self.number = number
        self.is_closed = False

    def warm_up(self):
        pass

    def close(self):
        self.is_closed = True


@pytest.fixture
def versions(tmp_path):
    return ModelVersions(tmp_path, load=Version)


def _write(directory, name, content="whole"):
    (directory / name).mkdir(exist_ok=True)
    (directory / name / "saved_model.pb").write_text(content)


def _remove(directory, name):
    (directory / name / "saved_model.pb").unlink()
    (directory / name).rmdir()


def _poll(versions):
    """Two looks: files that were just written have to be the same in both."""
    versions.poll()
    versions.poll()
    return versions.current and versions.current.number


def test_newest_version_is_served(versions, tmp_path):
    assert _poll(versions) is None
    for name in ("1", "10", "0009"):
        _write(tmp_path, name)
    assert _poll(versions) == 10


def test_names_that_are_no_numbers_and_directories_without_a_model_are_ignored(versions, tmp_path):
    for name in ("1", "2.tmp", "tmp-3", "-4", "5a", "²"):
        _write(tmp_path, name)
    (tmp_path / "6").mkdir()
    (tmp_path / "7").write_text("a file")
    _write(tmp_path, "8", content="")
    assert _poll(versions) == 1


def test_numbers_above_those_of_tf_serving_are_ignored(versions, tmp_path):
    for name in (str(2**63), "9" * 20, "9" * 200, "0" * 19 + "1"):
        _write(tmp_path, name)
    assert _poll(versions) is None
    _write(tmp_path, str(2**63 - 1))
    assert _poll(versions) == 2**63 - 1


def _loop(path):
    path.symlink_to(path.name)


def test_version_whose_files_cannot_be_seen_harms_no_other(versions, tmp_path, caplog):
    _loop(tmp_path / "5")
    _write(tmp_path, "3")
    _loop(tmp_path / "3" / "loop")
    _write(tmp_path, "1")
    assert _poll(versions) == 1
    _write(tmp_path, "2")
    assert _poll(versions) == 2
    assert [line for line in caplog.messages if "left as it is" in line and "loop" in line]
    assert len(caplog.messages) == 2  # once for each version, not at each look
    (tmp_path / "3" / "loop").unlink()
    assert _poll(versions) == 3


def test_served_version_whose_files_cannot_be_seen_any_more_stays(versions, tmp_path):
    _write(tmp_path, "1")
    _write(tmp_path, "2")
    assert _poll(versions) == 2
    served = versions.current
    _loop(tmp_path / "2" / "loop")
    assert _poll(versions) == 2 and versions.current is served


def _versions_that_report(directory, seen, broken=()):
    """Versions that add to `seen`, while they warm up, what answers and whether all is ready."""

    class Reporting(Version):
        def warm_up(self):
            seen.append((self.number, versions.current.number, versions.is_ready))
            if self.number in broken:
                raise ValueError("it fails")

    versions = ModelVersions(directory, load=Reporting)
    return versions


def test_first_version_answers_while_it_warms_up_and_a_later_one_does_not(tmp_path):
    seen = []
    versions = _versions_that_report(tmp_path, seen)
    assert not versions.is_ready
    _write(tmp_path, "1")
    assert _poll(versions) == 1 and versions.is_ready
    _write(tmp_path, "2")
    assert _poll(versions) == 2 and versions.is_ready
    assert seen == [(1, 1, False), (2, 1, True)]


def test_first_version_that_fails_to_warm_up_makes_way_for_the_next(tmp_path):
    seen = []
    versions = _versions_that_report(tmp_path, seen, broken={2})
    for name in ("1", "2"):
        _write(tmp_path, name)
    assert _poll(versions) == 1 and versions.is_ready
    assert seen == [(2, 2, False), (1, 1, False)]
    assert versions.states()[2][0] == "END" and "it fails" in versions.states()[2][2]


def test_no_version_answers_after_the_only_one_failed_to_warm_up(tmp_path):
    versions = _versions_that_report(tmp_path, [], broken={1})
    _write(tmp_path, "1")
    assert _poll(versions) is None and not versions.is_ready
    with pytest.raises(RequestError):
        versions.acquire()
    _remove(tmp_path, "1")
    assert _poll(versions) is None and versions.states() == {}


def test_version_that_still_grows_is_left_alone(versions, tmp_path):
    _write(tmp_path, "1")
    assert _poll(versions) == 1
    for size in range(3):
        _write(tmp_path, "2", "whole" + "x" * size)
        versions.poll()
        assert versions.current.number == 1
    versions.poll()
    assert versions.current.number == 2


def test_files_that_have_settled_are_served_at_the_first_look(versions, tmp_path, monkeypatch):
    monkeypatch.setattr(model_versions, "_SETTLED_SECONDS", -1.0)
    _write(tmp_path, "1")
    versions.poll()
    assert versions.current.number == 1


def test_broken_version_is_reported_and_tried_again_when_it_changes(versions, tmp_path):
    _write(tmp_path, "1")
    _write(tmp_path, "2", "half")
    assert _poll(versions) == 1
    assert versions.states() == {
        2: ("END", "INVALID_ARGUMENT", "half a version"),
        1: ("AVAILABLE", "OK", ""),
    }
    _write(tmp_path, "2", "whole now")
    assert _poll(versions) == 2


def test_broken_version_is_not_loaded_again_and_again(tmp_path):
    tried = []

    def load(number, directory):
        tried.append(number)
        return Version(number, directory)

    versions = ModelVersions(tmp_path, load=load)
    _write(tmp_path, "2", "half")
    for _ in range(4):
        versions.poll()
    assert tried == [2]


def test_removal_of_the_newest_falls_back_to_the_next(versions, tmp_path):
    _write(tmp_path, "1")
    _write(tmp_path, "2")
    assert _poll(versions) == 2
    _remove(tmp_path, "2")
    assert _poll(versions) == 1


def test_last_version_stays_when_all_are_removed(versions, tmp_path):
    _write(tmp_path, "1")
    assert _poll(versions) == 1
    _remove(tmp_path, "1")
    tmp_path.rmdir()
    assert _poll(versions) == 1


def test_served_version_is_loaded_again_when_its_files_change(versions, tmp_path):
    _write(tmp_path, "1")
    _write(tmp_path, "2")
    _poll(versions)
    first = versions.current
    _write(tmp_path, "2", "half")
    assert _poll(versions) == 2 and versions.current is first
    _write(tmp_path, "2", "whole again")
    assert _poll(versions) == 2 and versions.current is not first


def test_version_that_changes_while_it_is_loaded_is_not_served(tmp_path):
    def load(number, directory):
        _write(tmp_path, str(number), "half")
        version = Version.__new__(Version)
        version.number = number
        return version

    _write(tmp_path, "1")
    assert _poll(ModelVersions(tmp_path, load=load)) is None


def test_requests_finish_on_the_version_that_they_began_with(versions, tmp_path):
    _write(tmp_path, "1")
    _poll(versions)
    first = versions.acquire()
    _write(tmp_path, "2")
    assert _poll(versions) == 2
    assert not first.is_closed
    assert versions.states()[1][0] == "UNLOADING"
    versions.release(first)
    versions.poll()
    assert first.is_closed
    assert versions.states()[1][0] == "END"


def test_version_is_chosen_by_number_or_label(versions, tmp_path):
    with pytest.raises(RequestError) as raised:
        versions.acquire()
    assert raised.value.status == 503
    _write(tmp_path, "0")
    _poll(versions)
    for choice in ({}, {"number": 0}, {"label": "latest"}):
        versions.release(versions.acquire(**choice))
    for choice in ({"number": 7}, {"label": "stable"}):
        with pytest.raises(RequestError, match="is not served") as raised:
            versions.acquire(**choice)
        assert raised.value.status == 404
