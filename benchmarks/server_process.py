"""A model server in a process of its own, for load tests."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
_LONGEST_START = 300.0  # seconds


class ServerProcess:
    """Starts the server on a free port and waits until it is ready.

    Args:
        model_dir: with the versions.
        *flags: of the server.
        port: 0 for a free one.

    start_seconds: from the start of the process until it was ready.
    answer_seconds: until it answered `probe`, the body of a request, if there is one.
    """

    def __init__(self, model_dir, *flags, port=0, probe=None):
        started = time.perf_counter()
        command = ["-m", "official_coca.serving.server", f"--model_dir={model_dir}"]
        self._process = subprocess.Popen(
            [sys.executable, *command, f"--port={port}", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline()
        if " on http://" not in line:
            raise RuntimeError("the server did not start")
        self.url = line.split(" on ")[1].strip()
        self.port = int(self.url.rpartition(":")[2])
        if probe is not None:
            self._wait(started, lambda: self._is_fine(self.predict_url, probe))
            self.answer_seconds = time.perf_counter() - started
        self._wait(started, lambda: self._is_fine(f"{self.url}/readyz"))
        self.start_seconds = time.perf_counter() - started

    @property
    def predict_url(self):
        return f"{self.url}/v1/models/coca:predict"

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def cpu_seconds(self):
        """Processor time it has taken, which others on the machine disturb less than the clock."""
        status = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = status.rpartition(")")[2].split()  # from the third of proc(5) on
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Ends it with SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def kill(self):
        """Ends it with SIGKILL."""
        self._process.kill()
        self._process.wait(120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self.kill()
        self._process.stdout.close()

    def _wait(self, started, is_there):
        while not is_there():
            if time.perf_counter() - started > _LONGEST_START or self._process.poll() is not None:
                raise RuntimeError("the server did not get ready")
            time.sleep(0.02)

    def _is_fine(self, url, body=None):
        try:
            with urllib.request.urlopen(url, body, timeout=60) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False
