"""The floors of the house: who may import whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "official_coca"

FLOORS = {
    "errors": 0,
    **dict.fromkeys(
        ("layers", "losses", "optimization", "preprocessing", "generation", "saving"), 1
    ),
    **dict.fromkeys(("models", "dataloaders"), 2),
    **dict.fromkeys(("evaluation", "serving"), 3),
    "configs": 4,
    **dict.fromkeys(("train", "evaluate", "cli", "commands", "tools", "training"), 5),
    **dict.fromkeys(("assembly", "program", "printing"), 5),
}
# Programs that live in the folder of a lower floor.
PROGRAMS = {"serving/export_saved_model.py", "serving/server.py"}
# saving looks up the preprocessor's class by its registered name, when a preset has one.
LATE_IMPORTS = {("saving", "preprocessing")}
KERAS_ONLY = ("layers", "losses", "models", "generation")
# Imported when a training step needs it, and such steps there are in TensorFlow only.
TRAINING_ONLY = {"losses/chunked_cross_entropy.py"}
MODEL_GARDEN_USERS = {"preprocessing/augment.py"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def _imports(path, module_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if module_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _folder(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    folder = _folder(path)
    if folder == "__init__":
        return
    relative = str(path.relative_to(PACKAGE))
    floor = 5 if relative in PROGRAMS else FLOORS[folder]
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "official_coca" or parts[1] == "__version__":
            continue
        target = parts[1]
        if target == folder or (folder, target) in LATE_IMPORTS:
            continue
        assert FLOORS[target] < floor or floor == 5, f"{relative} imports {name}"


@pytest.mark.parametrize("folder", KERAS_ONLY)
def test_model_code_imports_no_tensorflow_at_module_level(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        if str(path.relative_to(PACKAGE)) in TRAINING_ONLY:
            continue
        for name in _imports(path, module_level_only=True):
            assert name.split(".")[0] not in ("tensorflow", "tensorflow_text"), f"{path}: {name}"


def test_only_configs_and_programs_import_model_garden():
    for path in MODULES:
        relative = str(path.relative_to(PACKAGE))
        allowed = FLOORS.get(_folder(path), 0) >= 4 or relative in MODEL_GARDEN_USERS | PROGRAMS
        if not allowed:
            assert not any(name.split(".")[0] == "official" for name in _imports(path)), relative


def test_package_import_loads_nothing_heavy():
    code = "import sys, official_coca; print('keras' in sys.modules or 'tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "False", ran.stderr


def test_no_module_is_called_utils_common_or_helpers():
    assert not {path.stem for path in MODULES} & {"utils", "common", "helpers", "misc"}
