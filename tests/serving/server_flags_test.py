"""The flags of the model server."""

import pathlib
import subprocess
import sys

import pytest

from official_coca.errors import InvalidInputError
from official_coca.program import ArgumentParser
from official_coca.serving.server_flags import add_server_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from official_coca.program import ArgumentParser
from official_coca.serving.server_flags import add_server_flags, set_threads

parser = ArgumentParser()
add_server_flags(parser)
set_threads(parser.parse_args(sys.argv[1:]))

import tensorflow as tf

assert float(tf.constant(1.0) + 1.0) == 2.0
threading = tf.config.threading
print(threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())
"""


@pytest.mark.parametrize(
    ("flags", "threads"),
    (
        ([], "0 0"),
        (["--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=3"], "1 3"),
    ),
)
def test_tensorflow_gets_the_threads_that_flags_name(flags, threads):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--model_dir=models", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split("\n")[-2] == threads


@pytest.mark.parametrize("threads", ("-1", "1025", "two"))
def test_a_number_of_threads_that_no_machine_has_is_refused(threads):
    parser = ArgumentParser()
    add_server_flags(parser)
    with pytest.raises(InvalidInputError, match=f"intra_op.*0 to 1024, got '{threads}'"):
        parser.parse_args(["--model_dir=models", f"--tensorflow_intra_op_parallelism={threads}"])


@pytest.mark.parametrize(
    "flag, most",
    [
        ("--batch_timeout_micros", 60_000_000),
        ("--num_batch_threads", 1024),
        ("--max_batch_size", 1_000_000),
        ("--allowed_batch_sizes", 1_000_000),
    ],
)
def test_batching_flags_have_an_upper_limit(flag, most):
    parser = ArgumentParser()
    add_server_flags(parser)
    parser.parse_args(["--model_dir=models", f"{flag}={most}"])
    for beyond in (str(most + 1), "9" * 17, "9" * 5000):
        with pytest.raises(InvalidInputError, match=f"{flag}: must be .* to {most}, got"):
            parser.parse_args(["--model_dir=models", f"{flag}={beyond}"])
