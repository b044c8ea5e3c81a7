"""The versions under a model's directory: watched, loaded in the background, swapped, let go.

The newest version that loads is served. A version directory is looked at once its files have not
changed from one look to the next, so one that is being copied is left alone; one that is not whole
is refused by `ServedVersion` and looked at again when its files change.

A version is warmed up before it replaces another. The first one answers as soon as it has loaded,
since late answers are better than none, and the server is ready when it is warm.
"""

import contextlib
import logging
import os
import pathlib
import re
import threading
import time

from official_coca.serving.request_error import RequestError
from official_coca.serving.served_version import ServedVersion

NEWEST_LABEL = "latest"
_MOST_NUMBER = 2**63 - 1  # TF Serving's versions are 64 bits
_SETTLED_SECONDS = 5.0  # files older than this are taken for whole at the first look
_LOGGER = logging.getLogger(__name__)


class ModelVersions:
    """Holds the version that answers requests and replaces it when the directory changes.

    Args:
        directory: with one SavedModel in each directory whose name is a number.
        poll_seconds: time between two looks at the directory.
        load: makes a version of a number and a directory; `ServedVersion` by default.
    """

    def __init__(self, directory, poll_seconds=1.0, load=ServedVersion):
        self._directory = pathlib.Path(directory)
        self._poll_seconds = poll_seconds
        self._load = load
        self._lock = threading.Lock()
        self._current = None
        self._in_use = {}  # version: requests that hold it; the current one is always here
        self._current_files = None
        self._last_look = {}
        self._refused = {}  # number: files that did not load
        self._states = {}  # number: (state, error code, message), as TF Serving names them
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self):
        """Starts to watch; the first version is served when it has loaded."""
        self._thread.start()

    def stop(self, seconds):
        """Stops to watch; returns whether that ended in time, as a load may not."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def current(self):
        """The version that answers, or None."""
        return self._current

    @property
    def is_ready(self):
        """Whether a version answers that has been warmed up."""
        with self._lock:
            current = self._current
            return current is not None and self._states[current.number][0] == "AVAILABLE"

    def acquire(self, number=None, label=None):
        """Returns the version that a request asks for; it stays loaded until it is released.

        Raises:
            RequestError: 404 for a version that is not served, 503 while none is.
        """
        with self._lock:
            version = self._current
            if version is None:
                raise RequestError(503, "no version of the model is loaded yet", retry_after=1)
            if number not in (None, version.number) or label not in (None, NEWEST_LABEL):
                wanted = f"label {label!r}" if label else f"version {number}"
                raise RequestError(
                    404, f"{wanted} is not served; version {version.number} ({NEWEST_LABEL}) is"
                )
            self._in_use[version] += 1
            return version

    def release(self, version):
        """Gives back what `acquire` returned."""
        with self._lock:
            self._in_use[version] -= 1

    def states(self):
        """{number: (state, error code, message)}, newest first."""
        with self._lock:
            return dict(sorted(self._states.items(), reverse=True))

    def poll(self):
        """Looks once: loads and swaps what is new, lets go what nobody uses any more."""
        found = self._look()
        with self._lock:
            for number in set(self._states) - set(found):
                if self._states[number][0] == "END":
                    del self._states[number]
        for number, files in sorted(found.items(), reverse=True):
            served = self._current is not None and self._current.number == number
            changed = not served or files != self._current_files
            if changed and self._is_settled(number, files):
                served = self._replace(number, *files) or served
            if served:
                break  # the versions below are older
        self._last_look = found
        self._let_go()

    def _watch(self):
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception:  # the directory may vanish while it is read; keep what is served
                _LOGGER.exception("could not look at %s", self._directory)
            self._stopping.wait(self._poll_seconds)

    def _look(self):
        """{number: (directory, its files)}; without a saved_model.pb it is no version yet.

        The files are None where they cannot all be seen.
        """
        found = {}
        for entry in os.scandir(self._directory) if self._directory.is_dir() else ():
            if not _is_number(entry.name):
                continue
            number = int(entry.name)
            try:
                files = _list_files(entry.path) if entry.is_dir() else ()
            except OSError as error:  # of this version; the others are looked at all the same
                found[number] = (entry.path, None)
                if self._last_look.get(number) != found[number]:
                    _LOGGER.warning("version %d is left as it is: %s", number, error)
                continue
            if any(path == "saved_model.pb" and size for path, size, _ in files):
                found[number] = (entry.path, files)
        return found

    def _is_settled(self, number, files):
        if files[1] is None or self._refused.get(number) == files:
            return False
        # The time of the last change of an inode cannot be set by whoever copies files.
        newest = max(changed for _, _, changed in files[1]) / 1e9
        return self._last_look.get(number) == files or time.time() - newest > _SETTLED_SECONDS

    def _replace(self, number, directory, files):
        """Loads a version and swaps it in; returns whether it is served now."""
        self._set_state(number, "LOADING")
        started = time.monotonic()
        try:
            version = self._load(number, directory)
            if _list_files(directory) != files:
                raise ValueError("its files changed while it was loaded")
            if self._stopping.is_set():
                return False
            if self._current is None:
                self._swap_in(version)
            version.warm_up()
        except Exception as error:  # whatever TensorFlow makes of a broken file
            self._refused[number] = (directory, files)
            message = " ".join(str(error).split())[:500]
            self._withdraw(number, message)
            _LOGGER.warning("version %d is not served: %s", number, message)
            return False
        if self._stopping.is_set():
            return False
        self._swap_in(version)
        with self._lock:
            self._states[number] = ("AVAILABLE", "OK", "")
        self._current_files = (directory, files)
        self._refused.pop(number, None)
        _LOGGER.info("version %d is served, loaded in %.1f s", number, time.monotonic() - started)
        return True

    def _swap_in(self, version):
        with self._lock:
            previous, self._current = self._current, version
            self._in_use.setdefault(version, 0)
            if previous is not None and previous.number != version.number:
                self._states[previous.number] = ("UNLOADING", "OK", "")

    def _withdraw(self, number, message):
        """Refuses a version, which answers already if it is the first and was not warm yet."""
        with self._lock:
            current = self._current
            if current is not None and self._states[current.number][0] == "LOADING":
                self._current = None
        self._set_state(number, "END", "INVALID_ARGUMENT", message)

    def _let_go(self):
        """Unloads the replaced versions that no request holds."""
        with self._lock:
            idle = [
                version
                for version, holders in self._in_use.items()
                if version is not self._current and not holders
            ]
            for version in idle:
                del self._in_use[version]
                if self._states.get(version.number, (None,))[0] == "UNLOADING":
                    self._states[version.number] = ("END", "OK", "")
        for version in idle:
            version.close()
            _LOGGER.info("version %d is unloaded", version.number)

    def _set_state(self, number, state, code="OK", message=""):
        with self._lock:
            if self._current is None or self._current.number != number:
                self._states[number] = (state, code, message)


def _is_number(name):
    return re.fullmatch("[0-9]{1,19}", name) is not None and int(name) <= _MOST_NUMBER


def _list_files(directory):
    """((relative path, bytes, time of last change in nanoseconds), ...) of all files.

    Raises:
        OSError: one of them cannot be seen, as in a directory without permission.
    """
    files = []
    for folder, _, names in os.walk(directory, onerror=_raise_unless_removed):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                status = os.stat(path)
                changed = status.st_ctime_ns
                files.append((os.path.relpath(path, directory), status.st_size, changed))
    return tuple(sorted(files))


def _raise_unless_removed(error):
    if not isinstance(error, FileNotFoundError):
        raise error
