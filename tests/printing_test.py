"""Whatever a program prints, wherever it goes."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
CODE = """
import sys
from official_coca import printing
from official_coca.program import run_program

def main(names):
    for name in names:
        printing.print_line(name)

sys.exit(run_program(main))
"""


def run(*names, encoding="utf-8:strict", **options):
    return subprocess.run(
        [sys.executable, "-c", CODE, *names],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stderr=subprocess.PIPE,
        cwd=ROOT,
        **options,
    )


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_name_that_the_output_cannot_encode_is_written_out(encoding):
    ran = run(os.fsdecode(b"d\xe9.jpg"), "\u732b.jpg", encoding=encoding, stdout=subprocess.PIPE)
    assert ran.returncode == 0, ran.stderr
    cat = "\u732b.jpg" if encoding.startswith("utf") else "\\u732b.jpg"
    assert ran.stdout.decode().splitlines() == ["d\\udce9.jpg", cat]


def test_full_disk_is_one_line():
    full = pathlib.Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    with open(full, "w") as stream:
        ran = run("a.jpg", "b.jpg", stdout=stream)
    assert ran.returncode == 2
    assert ran.stderr == b"error: cannot write the output: No space left on device\n"
