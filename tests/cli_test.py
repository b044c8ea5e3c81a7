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
ENDLESS = """
import signal, sys, time, types
from official_coca import cli
from official_coca.commands.results import Results

# A shell starts what it runs in the background with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def endless(arguments):
    with Results(10, as_json=False) as results:
        for number in range(1_000_000):
            results.add({}, [f"line {number}"])
            time.sleep(0.001)

sys.modules["endless"] = types.SimpleNamespace(main=endless)
cli.COMMANDS["endless"] = ("endless", "")
sys.argv[1:] = ["endless"]
sys.exit(cli.run())
"""


def test_broken_pipe_ends_quietly():
    process = python(ENDLESS)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""


def test_interrupt_keeps_what_was_printed_and_exits_with_130():
    process = python(ENDLESS)
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


def test_full_disk_behind_stdout_is_one_line():
    full = pathlib.Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    with open(full, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS], stdout=stream, stderr=subprocess.PIPE, cwd=ROOT
        )
        err = process.communicate(timeout=30)[1].decode()
    assert "No space left" in err and "Traceback" not in err and process.returncode != 0
