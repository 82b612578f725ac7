"""Dependencies between packages, and what may not be written anywhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room may import itself, what stands beside it here, and `errors` and `files`, which are no rooms.
BELOW = {
    "diffusion": set(),
    "nn": set(),
    "text": set(),
    "models": {"diffusion", "nn", "text"},
    "data": {"diffusion", "nn", "text", "models"},
    "image": {"diffusion", "nn", "text", "models"},
    "weights": {"diffusion", "nn", "text", "models"},
}
BELOW["scenes"] = {*BELOW, "data", "image", "weights"}
BELOW["interop"] = BELOW["evaluate"] = {*BELOW["scenes"], "scenes"}
BELOW["train"] = BELOW["evaluate"] | {"evaluate", "interop"}  # training measures by the metrics of evaluation
BELOW["recipes"] = {*BELOW["train"], "train"}
BELOW["compare"] = BELOW["recipes"] | {"recipes"}
BELOW["serve"] = BELOW["compare"] | {"compare"}
BELOW["cli"] = BELOW["serve"] | {"serve"}

# Pixels, latents and captions come and go as numpy arrays in these rooms: they start fast.
WITHOUT_TORCH = ("data", "image")

FILES = sorted((ROOT / "unstir").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if len(parts) > 1 else ""


def imported(path, tree):
    """Every module that a file imports, anywhere in it, by its full dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-1]
            before = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (before, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path, tree):
    for name in imported(path, tree):
        parts = name.split(".")
        if parts[0] == "unstir" and len(parts) > 1 and (ROOT / "unstir" / parts[1]).is_dir():
            yield parts[1]


def offences(test):
    """ "file:line" of every node of the package for which `test` is true."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt) and test(node)
    ]


def test_the_rooms_that_are_built_have_a_floor():
    rooms = {room_of(path) for path in FILES if path.parent != ROOT / "unstir"}
    assert rooms <= set(BELOW)
    assert {"diffusion", "nn", "text", "models", "data", "image", "weights"} <= rooms


@pytest.mark.parametrize("room", BELOW)
def test_imports_point_down_only(room):
    for path, tree in TREES.items():
        if room_of(path) == room:
            above = set(rooms_imported(path, tree)) - BELOW[room] - {room}
            assert not above, f"{path.relative_to(ROOT)} imports {', '.join(sorted(above))}"


INTERFACE = ("__init__", "request", "clip_guidance", "model", "training", "evaluation", "exploration", "comparison")
"""The Python interface stands above the rooms, and below the command line; the other files beside it below all."""


def test_what_all_rooms_share_imports_no_room():
    for path, tree in TREES.items():
        if path.parent == ROOT / "unstir":
            rooms = set(rooms_imported(path, tree))
            if path.stem in INTERFACE:
                assert "cli" not in rooms, path.name
            else:
                # The settings read the names of the samplers, which are the names of files.
                allowed = {"__main__.py": {"cli"}, "settings.py": {"diffusion"}}.get(path.name, set())
                assert rooms <= allowed, path.name


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_data_and_image_know_no_torch(room):
    for path, tree in TREES.items():
        if room_of(path) == room:
            assert not [name for name in imported(path, tree) if name.split(".")[0] == "torch"], path.name


def test_the_lecture_imports_torch_numpy_and_the_standard_library_only():
    allowed = {"torch", "numpy", "unstir", "tokenizers", "rapidfuzz"} | set(sys.stdlib_module_names)
    for path, tree in TREES.items():
        if room_of(path) in ("diffusion", "nn", "text", "models"):
            # One file holds what another library builds.
            more = {"transformers"} if path.name == "pretrained_text.py" else set()
            foreign = {name.split(".")[0] for name in imported(path, tree)} - allowed - more
            assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_the_lecture_reads_no_file_and_no_environment():
    for path, tree in TREES.items():
        if room_of(path) in ("diffusion", "nn", "models"):
            names = {name.split(".")[0] for name in imported(path, tree)}
            assert not names & {"os", "pathlib", "io", "sys", "tempfile", "logging"}, path.name
            calls = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not calls & {"open", "print", "input"}, path.name


def dotted(node):
    """ "a.b.c" of a name or attribute, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def test_no_pickle_and_no_code_from_data():
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for path, tree in TREES.items():
        assert not modules & {name.split(".")[0] for name in imported(path, tree)}, path.name
    calls = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "importlib.import_module"}
    assert offences(lambda node: isinstance(node, ast.Call) and dotted(node.func) in calls) == []
    # numpy's own loophole.
    assert (
        offences(
            lambda node: (
                isinstance(node, ast.Call)
                and any(k.arg == "allow_pickle" and getattr(k.value, "value", True) for k in node.keywords)
            )
        )
        == []
    )


DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
LIKE = {"rand_like", "randn_like", "randint_like", "manual_seed", "seed"}
IN_PLACE = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "log_normal_", "cauchy_", "geometric_"}


def bare_draw(node):
    """A call that reads or writes torch's, numpy's or Python's global generator."""
    if not isinstance(node, ast.Call):
        return False
    name = dotted(node.func)
    given = any(keyword.arg == "generator" for keyword in node.keywords)
    if name.startswith("torch."):
        last = name.removeprefix("torch.")
        return last in LIKE or (last in DRAWS and not given)
    if name.startswith(("np.random.", "numpy.random.")):
        return name.rsplit(".", 1)[1] not in {"Generator", "Philox", "default_rng", "SeedSequence", "PCG64"}
    if name.startswith("random."):
        return name not in {"random.Random", "random.SystemRandom"}
    return isinstance(node.func, ast.Attribute) and node.func.attr in IN_PLACE and not given


def test_randomness_is_an_argument():
    assert offences(bare_draw) == []


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("torch.randn(3)", True),
        ("torch.randn(3, generator=g)", False),
        ("torch.randn_like(x)", True),
        ("torch.randperm(4)", True),
        ("x.normal_()", True),
        ("x.normal_(generator=g)", False),
        ("np.random.rand(3)", True),
        ("np.random.default_rng(3)", False),
        ("random.shuffle(x)", True),
        ("random.Random(3)", False),
        ("torch.Generator().manual_seed(3)", False),
        ("torch.manual_seed(3)", True),
    ],
)
def test_the_search_for_bare_draws_finds_them(code, bad):
    assert bare_draw(ast.parse(code, mode="eval").body) is bad


def test_no_file_has_a_name_that_says_nothing():
    nothing = {"utils", "helpers", "common", "manager", "engine", "pipeline", "base", "misc"}
    assert [path for path in FILES if path.stem in nothing] == []


@pytest.mark.parametrize(
    "module", ["unstir", "unstir.errors", "unstir.files", "unstir.data.sources", "unstir.image.png"]
)
def test_import_is_quick_and_quiet(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not {"torch", "tokenizers", "safetensors", "diffusers", "transformers"} & set(done.stdout.split())
