"""The dispatcher: help, mistakes, and how the process ends."""

import pathlib
import signal
import subprocess
import sys
import time
import tomllib

import pytest

from official_coca import cli
from official_coca.program import run_program

ROOT = pathlib.Path(__file__).resolve().parents[1]


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


def test_help_of_every_command_is_fast_and_loads_no_tensorflow():
    code = (
        "import sys, time; started = time.monotonic()\n"
        "from official_coca import cli\n"
        "for name in [None, *cli.COMMANDS]:\n"
        "    try: cli.main([name, '--help'] if name else ['--help'])\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert time.monotonic() - started < 5\n"
    )
    out, err = (process := python(code)).communicate()
    assert process.returncode == 0, err
    for name in cli.COMMANDS:
        assert f"\n  {name} " in out
    assert out.count("--model") >= 6 and "    coca caption photos/" in out


def test_console_script_and_module_are_the_same_program():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"coca": "official_coca.cli:run"}
    ran = subprocess.run(
        [sys.executable, "-m", "official_coca.cli", "presets"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode == 0 and "coca_vit_b_32_laion2b\tweights" in ran.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["captoin", "x.jpg"], ["'captoin'", "did you mean 'caption'"]),
        (["zzz"], ["'zzz'", "caption, classify"]),
        (["--jsn"], ["'--jsn'"]),
        (["caption", "x.jpg", "--jsn"], ["--jsn"]),
        (["caption"], ["IMAGE"]),
        (["caption", "x.jpg", "--batch_size=0"], ["--batch_size=0"]),
        (["caption", "x.jpg", "--num_beams=many"], ["--num_beams", "many"]),
        (["classify", "x.jpg"], ["--labels"]),
        (["convert", "x"], ["DST"]),
        (["search", "x"], ["one query"]),
        (["presets", "more"], ["more"]),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(arguments, words, capsys):
    assert run_program(cli.main, arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_without_arguments_the_help_goes_to_stderr(capsys):
    assert cli.main([]) == 2
    assert "usage: coca COMMAND" in capsys.readouterr().err


def test_help_says_what_exits_with_1(capsys):
    assert cli.main(["--help"]) == 0
    assert "1 inputs were skipped, some or all of them" in capsys.readouterr().out
    assert run_program(cli.main, ["caption", "no_such_file.jpg"]) == 1


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("official_coca 0.")


# A command that prints for ever, in place of one that loads TensorFlow.
# Runs what a script before it calls `command`, as one of coca.
RUN = """
sys.modules["command"] = types.SimpleNamespace(main=command)
cli.COMMANDS["command"] = ("command", "")
sys.argv[1:] = ["command"]
sys.exit(cli.run())
"""

ENDLESS = """
import signal, sys, time, types
from official_coca import cli
from official_coca.commands.results import Results

# A shell starts what it runs in the background with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def command(arguments):
    with Results(10, as_json=False) as results:
        for number in range(1_000_000):
            results.add({}, [f"line {number}"])
            time.sleep(0.001)
"""


def test_broken_pipe_ends_quietly():
    process = python(ENDLESS + RUN)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""


def test_interrupt_keeps_what_was_printed_and_exits_with_130():
    process = python(ENDLESS + RUN)
    assert process.stdout.readline() == "line 0\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.startswith("line 1\n") and out.endswith("\n")
    assert err == "stopped\n"


@pytest.mark.parametrize("redirection", [">&-", "2>&-"])
def test_closed_output_is_no_defect(redirection):
    command = f"{sys.executable} -m official_coca.cli caption no.jpg --json {redirection}"
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    told = ran.stderr if redirection == ">&-" else ran.stdout
    assert "no.jpg" in told and "no such file" in told


FULL = pathlib.Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this machine has no /dev/full")


@needs_full
def test_full_disk_behind_stdout_is_one_line():
    with open(FULL, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS + RUN], stdout=stream, stderr=subprocess.PIPE, cwd=ROOT
        )
        err = process.communicate(timeout=30)[1].decode()
    assert err == "error: cannot write the output: No space left on device\n"
    assert process.returncode == 2


@needs_full
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["presets"], ["presets", "--json"], ["caption", "-h"]]
)
def test_full_disk_behind_help_and_lists_is_one_line(arguments):
    with open(FULL, "w") as stream:
        ran = subprocess.run(
            [sys.executable, "-m", "official_coca.cli", *arguments],
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert ran.stderr == "error: cannot write the output: No space left on device\n"
    assert ran.returncode == 2


@pytest.mark.parametrize("arguments", [["--help"], ["caption", "--help"], ["presets"]])
def test_reader_that_has_gone_ends_help_and_lists_quietly(arguments):
    code = "import sys, time; time.sleep(0.5)\nfrom official_coca import cli; sys.exit(cli.run())"
    process = python(code, *arguments)
    process.stdout.close()
    assert process.wait(timeout=30) == 141 and process.stderr.read() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["caption", "x.jpg", "--prompt=d\udce9"],
        ["caption", "{tmp}", "--model={tmp}/pre\udce9"],
        ["classify", "x.jpg", "--labels=d\udce9,b"],
        ["embed", "--text=d\udce9", "--output=x.npz"],
        ["convert", "{tmp}/pre\udce9", "{tmp}/new"],
        ["convert", "{tmp}", "{tmp}/d\udce9"],
    ],
)
def test_text_that_is_not_utf_8_is_told_in_one_line(arguments, tmp_path, capsys):
    (tmp_path / "pre\udce9").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    assert run_program(cli.main, [argument.format(tmp=tmp_path) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert "not valid UTF-8" in err and "d\\udce9" in err.replace("pre", "d")
    assert out == "" and err.count("\n") == 1


# Leaves while other threads are busy within TensorFlow, as `coca demo` may.
BUSY = """
import sys, threading, types
from official_coca import cli

def command(arguments):
    import tensorflow as tf

    def work():
        for side in range(1, 100_000):
            tf.function(lambda x: tf.reduce_sum(x @ x))(tf.ones((side, side)))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join(0.7)
"""


def test_thread_within_tensorflow_does_not_abort_the_end():
    process = python(BUSY + RUN)
    output, errors = process.communicate()  # which may tell of a GPU that is not there
    assert output == "" and "FATAL" not in errors and process.returncode == 0
