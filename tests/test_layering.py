"""The rules of the source tree: who may import whom, and how long and how named a file may be."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "seedvr2").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BASE = {"errors", "randomness"}
# part of the package -> what it may import of the package besides itself
ALLOWED = {
    "errors": set(),
    "randomness": set(),
    "tracing": set(),
    "config": {"errors"},
    "evaluation": {"errors", "randomness", "config", "io", "data"},
    "models": BASE | {"tracing"},
    "flow": BASE,
    "losses": BASE,
    "optim": BASE,
    "io": BASE,
    "data": BASE | {"io"},
    "objectives": BASE | {"models", "flow", "losses", "optim", "data.batch"},
    "restore": BASE | {"tracing", "models", "flow", "io"},
    "parallel": BASE | {"models"},
    "training": BASE
    | {"tracing", "models", "flow", "losses", "optim", "io", "data"}
    | {"objectives", "config", "parallel", "evaluation"},
}
EXTRA = {
    "restore/models.py": {"training.weights"},
    "restore/plan/networks.py": {"training.weights"},
    "restore/table.py": {"config"},
    "data/degrade.py": {"config"},
}
COMMANDS = {"train", "infer", "eval", "precompute", "convert"}  # they may import everything, and nothing imports them
NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; `from a import b` counts as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "seedvr2"))


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_packages_import_only_what_lies_below_them():
    wrong = []
    for path in SOURCES:
        part = path.relative_to(ROOT / "seedvr2").parts[0].removesuffix(".py")
        if part in COMMANDS or part == "__init__":
            continue
        assert part in ALLOWED, f"say in {Path(__file__).name} what {part} may import"
        allowed = {part, *ALLOWED[part], *EXTRA.get(name_of(path), ())}
        ours = {name.removeprefix("seedvr2.") for name in imports(path) if is_inside(name, "seedvr2")}
        foreign = {name for name in ours if not any(is_inside(name, package) for package in allowed)}
        wrong += [f"{name_of(path)}: {name}" for name in foreign]
    assert wrong == []


def test_process_groups_and_configurations_stay_where_they_belong():
    wrong = []
    for path in SOURCES:
        part, names = path.relative_to(ROOT / "seedvr2").parts[0], imports(path)
        distributed = "torch.distributed" in path.read_text() or any(is_inside(n, "torch.distributed") for n in names)
        composed = any(is_inside(name, package) for name in names for package in ("hydra", "omegaconf"))
        if (distributed and part not in ("parallel", "optim", "training")) or (composed and part != "config.py"):
            wrong.append(name_of(path))
    assert wrong == []


def test_files_are_short_and_named_by_a_noun():
    assert [str(path) for path in SOURCES + TESTS if len(path.read_text().splitlines()) > 300] == []
    assert [str(path) for path in SOURCES + TESTS if {path.stem, path.parent.name} & NAMES] == []


def test_modules_say_what_they_are_for():
    texts = {name_of(path): path.read_text() for path in SOURCES}
    assert [name for name, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []


def test_checkers_are_not_silenced():
    marks = ["# " + "noqa", "# type: " + "ignore", "TO" + "DO", "FIX" + "ME"]
    assert [f"{path}: {mark}" for path in SOURCES + TESTS for mark in marks if mark in path.read_text()] == []


def test_test_files_have_names_of_their_own():
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_assets_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "tests" / "assets").rglob("*")) <= 12 * 2**20
