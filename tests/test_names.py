"""Public names: none of the words that the project has replaced by the field's own, and each means one thing.

Read from the source of the package, the tools and the experiments, without importing them.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("unstir", "tools", "experiments") for path in (ROOT / folder).rglob("*.py"))

REPLACED = {
    "x_start": "x0",
    "alphas_cumprod": "alpha",
    "timestep timesteps": "t",
    "cfg": "guidance_scale",
    "scheduler": "NoiseSchedule, time_grid or lr_schedule",
    "uc": "null_cond",
    "first_stage z_q": "encode, decode, latent",
    "epoch epochs global_step": "images_seen",
    "plan plans": "config, recipe or run_file",
    "dial dials wish wishes": "settings",
    "look looks": "evaluation, or network evaluation",
    "course courses": "run or schedule",
    "share shares": "fraction",
    "likeness likenesses": "metrics of distributions",
    "halves half_split": "split_half",
    "manifold": "precision_recall",
    "beaten": "baseline comparison",
    "shelf": "cache",
    "units": "number_format",
    "plate plates": "figures",
    "numeral numerals": "number_format",
    "sign signs": "train_metrics",
    "fewer": "step distillation",
    "stride strides": "steps, or teacher trajectory",
    "aim": "x0_target",
    "eighths": "int8",
    "silence": "empty_prompt",
    "heed heeds heard": "attention_bias",
    "place places": "layout, position or decimals",
    "told tell tells": "named_things, or notes",
    "named found": "image-to-text R@k, text-to-image R@k",
    "judge judges": "eval_clip or evaluator",
    "lent lends": "applied_to",
}
"""Words that are part of no public name -> what is said in their place."""

FILE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "engine", "pipeline", "base"}
"""A file is called by the field's noun for what is in it."""

WORDS = {word: say for words, say in REPLACED.items() for word in words.split()}

PLAIN = {
    "named": {
        "named_parameters": "torch's own name, in the protocol of what can be trained",
        "named_modules": "torch's own name",
        "named_sampler": "a lookup by name, and no recall",
        "named_schedule": "a lookup by name",
        "named_recipe": "a lookup by name",
        "NamedThing": "a thing that a caption names",
        "named_things": "the things that a caption names",
    },
    "found": {"found": "an argument: what was found in a file or a search"},
}
"""Names in which such a word has its plain meaning, each with the reason."""

SAME_NAME = {
    "main": "the entry point of a script",
    "register": "the two halves of the table of paradigms have one interface",
    "read_config": "interop.huggingface and interop.openclip have one interface",
    "weight_map": "interop.huggingface and interop.openclip have one interface",
    "load_clip": "unstir.load_clip reads files of others too, by way of the one for our own",
    "compare": "the command and the function of the Python interface",
    "evaluate": "the command and the function of the Python interface",
    "train": "the command and the function of the Python interface",
}
"""Classes and functions that several modules may define, each with the reason."""


class Name(NamedTuple):
    """kind: "module", "class", "function", "method", "argument", "field" or "constant"."""

    kind: str
    text: str
    where: str


def bound(target: ast.expr) -> Iterator[str]:
    """The names that an assignment binds."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def names_in(body: list[ast.stmt], where: str, in_class: bool = False) -> Iterator[Name]:
    """Every public name of a module or of a class."""
    for node in body:
        at = f"{where}:{node.lineno}"
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if node.name.startswith("_") and node.name != "__init__":
                    continue
                yield Name("method" if in_class else "function", node.name, at)
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                arguments += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
                yield from (Name("argument", one.arg, at) for one in arguments)
            case ast.ClassDef():
                if not node.name.startswith("_"):
                    yield Name("class", node.name, at)
                    yield from names_in(node.body, where, in_class=True)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in (name for target in targets for name in bound(target)):
                    yield Name("field" if in_class else "constant", name, at)


def public_names() -> list[Name]:
    """Of all files; what begins with an underscore is private."""
    names = []
    for path in FILES:
        where = str(path.relative_to(ROOT))
        names.append(Name("module", path.stem, where))
        names += names_in(ast.parse(path.read_text(encoding="utf-8")).body, where)
    return [name for name in names if not name.text.startswith("_")]


def words_of(name: str) -> set[str]:
    """The words of a name in lower case, and pairs of neighbours: "XStart" -> x, start, x_start."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    return {*words, *("_".join(pair) for pair in pairwise(words)), name.lower()}


def is_allowed(name: Name, word: str) -> bool:
    # Scenes are planned: that is what `scenes` does, and no configuration.
    planned = word in ("plan", "plans") and name.where.startswith("unstir/scenes/")
    return planned or name.text in PLAIN.get(word, {})


@pytest.fixture(scope="module")
def names() -> list[Name]:
    return public_names()


def test_names_are_read(names):
    texts = {(name.kind, name.text) for name in names}
    assert {("class", "TrainConfig"), ("field", "batch_size"), ("function", "guide"), ("method", "draw")} <= texts
    assert {("argument", "guidance_scale"), ("module", "new_run"), ("constant", "BUILT_IN")} <= texts
    assert words_of("XStartZq2") == {"x", "start", "zq", "2", "x_start", "start_zq", "zq_2", "xstartzq2"}


def test_no_public_name_has_a_replaced_word(names):
    wrong = [
        f"{name.where}: {name.kind} {name.text} has {word!r}; say {WORDS[word]}"
        for name in names
        for word in sorted(words_of(name.text) & WORDS.keys())
        if not is_allowed(name, word)
    ]
    assert not wrong, "\n".join(wrong)


def test_file_names(names):
    assert not [name for name in names if name.kind == "module" and words_of(name.text) & FILE_NAMES]


def test_conditioning_and_guidance_have_no_single_letters(names):
    """c, w and y once stood for conditioning and guidance. y remains where it is a coordinate, beside x."""
    x_at = {name.where.rpartition(":")[0] for name in names if name.text == "x"}
    wrong = [
        name
        for name in names
        if name.kind in ("argument", "field", "constant")
        and (name.text in ("c", "w", "input") or (name.text == "y" and name.where.rpartition(":")[0] not in x_at))
    ]
    assert not wrong


def test_allowed_names_are_in_use(names):
    """An exception that nothing needs any more is struck."""
    texts = {name.text for name in names}
    assert {name for allowed in PLAIN.values() for name in allowed} <= texts
    assert SAME_NAME.keys() <= texts


def test_a_public_name_means_one_thing(names):
    defined = defaultdict(list)
    for name in names:
        if name.kind in ("class", "function"):
            defined[name.text].append(name.where)
    twice = {text: where for text, where in defined.items() if len(where) > 1 and text not in SAME_NAME}
    assert not twice
