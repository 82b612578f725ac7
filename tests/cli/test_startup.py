"""`unstir --help` answers at once: nothing heavy is imported before a command needs it."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "safetensors",
    "tokenizers",
    "sklearn",
    "unstir.models",
    "unstir.train",
    "unstir.recipes",
)


def imported_after(code):
    """The heavy packages that are there after this code has run in a fresh interpreter."""
    ask = f"{code}\nimport sys\nprint('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["gnerate"], ["generate", "--help"], ["train"]])
def test_without_torch(arguments):
    assert imported_after(f"from unstir.cli import main; main({arguments})") == "HEAVY []"


def test_importing_the_package_does_nothing():
    assert imported_after("import unstir, unstir.errors, unstir.cli") == "HEAVY []"


def test_drawing_does_not_import_the_compiler(model, tmp_path):
    arguments = ["generate", "red apple", "--seed", "1", "--model", str(model), "--out", str(tmp_path)]
    code = (
        f"import sys\nfrom unstir.cli import main\nassert main({arguments}) == 0\nprint('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"


def test_python_m_unstir():
    done = subprocess.run([sys.executable, "-m", "unstir", "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unstir: ")
    assert done.stderr.count("\n") == 1
