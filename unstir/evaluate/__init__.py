"""How good generated pictures are. `evaluation.evaluate` goes from a model and real pictures to a report.

`unstir.evaluate(...)`, the package called, does so from files (`unstir.evaluation`).

    statistics/   intervals and resampling
    metrics/      one metric a file: pure functions of features, vectors or pixels
    run/          the inputs of an evaluation: prompts, generated pictures, features, and their cache
    report/       sections, tables and figures; JSON, HTML and text

Imports point down this list: statistics <- metrics <- run <- report <- evaluation. `evaluation` needs `run` and
`report` both, so it stands above them.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """`unstir.evaluation.evaluate`."""
        from unstir.evaluation import evaluate

        report: dict[str, Any] = evaluate(*arguments, **options)
        return report


sys.modules[__name__].__class__ = _Callable
