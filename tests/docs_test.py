"""What the documentation names exists: paths, modules, flags, experiments, config keys."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/*.md", "data/*/*.md", "experiments/*.yaml")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith(".") and "runs" not in path.parts
)
# Made by programs, or the reader's own.
NOT_IN_THE_CHECKOUT = re.compile(
    r"^(runs/|shards/|my_|.*FAMILY|FILE|DIR|metrics\.json|photos\.|animals|vocabulary\.model|"
    r"captions\.txt|classes\.txt|.*<|beach/|config\.json|report\.html)"
)
TOP_LEVEL = r"(?:official_coca|experiments|data|tests|benchmarks)"
FLOORS = r"(?:layers|losses|models|configs|training|evaluation|serving|generation|optimization)"


def _text(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_exists(document):
    text = _text(document)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for link in links:
        assert (document.parent / link).exists(), f"{document.name} links to {link}"
    named = re.findall(rf"(?<![\w/.-]){TOP_LEVEL}/[\w./*<>-]*\w\.(?:py|md|yaml|txt|json)", text)
    for path in named:
        if "*" not in path and not NOT_IN_THE_CHECKOUT.search(path):
            assert (ROOT / path).exists(), f"{document.name} names {path}"
    inside = re.findall(rf"(?<![\w/]){FLOORS}/\w+\.py", text)
    for path in inside:
        found = (ROOT / "official_coca" / path, ROOT / "tests" / path, ROOT / path)
        assert any(place.exists() for place in found), f"{document.name} names {path}"


def _commands():
    """(document, module or script, arguments) of every python command in the documentation."""
    for document in DOCUMENTS:
        text = re.sub(r"^#+ ?", "", _text(document), flags=re.M) if document.suffix == ".yaml" else (
            _text(document)
        )
        text = re.sub(r"\\\n\s*", " ", text)
        for module, arguments in re.findall(r"python -m ([\w.]+)([^\n`]*)", text):
            yield document.name, module, arguments
        for script, arguments in re.findall(r"python ((?:data|benchmarks)/\w+\.py)([^\n`]*)", text):
            yield document.name, script, arguments
        for command, arguments in re.findall(r"^coca (\w+)([^\n`]*)", text, flags=re.M):
            yield document.name, f"official_coca.cli {command}", arguments


COMMANDS = sorted(set(_commands()))


@pytest.fixture(scope="module")
def help_of():
    """The --help text of a program, asked for once."""
    texts = {}

    def ask(program):
        if program not in texts:
            how = [program] if program.endswith(".py") else ["-m", *program.split()]
            ran = subprocess.run(
                [sys.executable, *how, "--help"], capture_output=True, text=True, cwd=ROOT
            )
            texts[program] = ran.stdout + ran.stderr
        return texts[program]

    return ask


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]}:{command[1]}")
def test_every_flag_exists(command, help_of):
    document, program, arguments = command
    for flag in re.findall(r"--(\w+)", arguments):
        assert re.search(rf"--(?:\[no\])?{flag}\b", help_of(program)), (
            f"{document}: {program} has no --{flag}"
        )


def _experiment_names():
    importlib.import_module("official_coca.configs.coca")
    return importlib.import_module("official_coca.configs.experiment").experiment_names()


def test_every_name_of_open_weights_exists():
    from official_coca.models.open_weights import OPEN_WEIGHTS

    rows = re.findall(r"^\| `(coca_vit_\w+)` \| `([\w./-]+)`", _text(ROOT / "README.md"), flags=re.M)
    assert dict(rows) == OPEN_WEIGHTS


def test_every_experiment_exists():
    named = {
        name for document in DOCUMENTS for name in re.findall(r"--experiment=(\w+)", _text(document))
    }
    (table,) = re.findall(
        r"^\| experiment \| what it is \|\n(.*?)\n\n", _text(ROOT / "README.md"), flags=re.M | re.S
    )
    table = re.findall(r"^\| `(coca_\w+)` \|", table, flags=re.M)
    assert set(table) == set(_experiment_names())
    assert named <= set(_experiment_names())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_yaml_builds_with_the_experiment_it_names(path):
    from official.core import exp_factory
    from official.modeling import hyperparams

    (name,) = set(re.findall(r"--experiment=(\w+)", _text(path)))
    config = exp_factory.get_exp_config(name)
    hyperparams.override_params_dict(config, yaml.safe_load(_text(path)), is_strict=True).validate()


def test_every_override_in_a_command_is_a_config_key():
    from official.core import exp_factory

    keys = re.findall(r"--params_override=([\w.]+)=", "\n".join(map(_text, DOCUMENTS)))
    assert keys
    config = exp_factory.get_exp_config(_experiment_names()[0])
    for key in keys:
        value = config
        for part in key.split("."):
            assert hasattr(value, part), key
            value = getattr(value, part)


def test_python_examples_are_valid_and_use_real_names():
    import official_coca

    blocks = re.findall(r"```python\n(.*?)```", _text(ROOT / "README.md"), flags=re.S)
    assert len(blocks) >= 3
    for block in blocks:
        ast.parse(block)
        for name in re.findall(r"\b(?:oc|official_coca)\.([A-Z]\w+)", block):
            assert hasattr(official_coca, name), name


def test_examples_of_the_readme_stay_within_ten_lines():
    blocks = re.findall(r"```python\n(.*?)```", _text(ROOT / "README.md"), flags=re.S)
    for block in blocks[:2]:
        code = [line for line in block.splitlines() if line and not line.startswith("import")]
        assert len(code) <= 10
