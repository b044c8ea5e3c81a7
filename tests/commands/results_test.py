"""What a command prints."""

import json
import os
import pty
import subprocess
import sys

from official_coca.commands.results import Results


def test_json_and_text_say_the_same(capsys):
    for as_json in (False, True):
        with Results(2, as_json) as results:
            results.add({"image": "a.png", "caption": "a cat"}, ["a.png", "a cat"])
            results.skip("b.png", "the file is empty")
        assert results.exit_code() == 1
        out, err = capsys.readouterr()
        assert err == "skipped b.png: the file is empty\n1 of 2 images was skipped\n"
        if as_json:
            assert [json.loads(line) for line in out.splitlines()] == [
                {"image": "a.png", "caption": "a cat"},
                {"image": "b.png", "error": "the file is empty"},
            ]
        else:
            assert out == "a.png\ta cat\n"


def test_name_cannot_break_the_line_or_reach_the_terminal(capsys):
    with Results(1, as_json=False) as results:
        results.add({}, ["a\nb\t\x1b[2J.png", "ein Kätzchen"])
    assert capsys.readouterr().out == "a\\nb\\t\\x1b[2J.png\tein Kätzchen\n"


def test_progress_is_shown_on_a_terminal_only():
    code = (
        "from official_coca.commands.results import Results\n"
        "with Results(4, as_json=False) as results:\n"
        "    for n in range(4): results.add({}, [f'{n}.png'])"
    )
    controller, terminal = pty.openpty()
    ran = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=terminal, text=True
    )
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    os.close(terminal)
    assert ran.stdout == "0.png\n1.png\n2.png\n3.png\n"
    assert "4/4" in shown and "image/s" in shown, shown
