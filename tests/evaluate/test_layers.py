"""Inside the room imports point down: statistics <- metrics <- run <- report <- evaluation."""

import ast
from pathlib import Path

import unstir.evaluate

ROOM = Path(unstir.evaluate.__file__).parent
LAYERS = ("statistics", "metrics", "run", "report", "evaluation")


def layer_of(path):
    return path.relative_to(ROOM).with_suffix("").parts[0]


def test_imports_point_down():
    files = [path for path in ROOM.rglob("*.py") if path != ROOM / "__init__.py"]
    assert {layer_of(path) for path in files} == set(LAYERS)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("unstir.evaluate."):
                imported = node.module.split(".")[2]
                assert LAYERS.index(imported) <= LAYERS.index(layer_of(path)), f"{path.name} imports {node.module}"


def test_statistics_are_plain_numpy():
    for path in (ROOM / "statistics").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= {"numpy", "math"}, path.name


def test_what_only_a_report_needs_is_imported_when_one_is_written():
    for path in ROOM.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not {"jinja2", "matplotlib"} & {str(name).split(".")[0] for name in names}, path.name
