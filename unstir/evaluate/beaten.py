"""Does a model beat the baseline that draws nothing? Picture by picture, on the same prompts, said in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unstir.evaluate.bootstrap import Interval, interval
from unstir.evaluate.report import Row, row_of
from unstir.evaluate.rows import Floats
from unstir.evaluate.words import SCORE


@dataclass(frozen=True)
class Beaten:
    """One measure: the means of both, and their difference, model less baseline, with its interval."""

    name: str
    model: float
    baseline: float
    difference: Interval

    @property
    def word(self) -> str:
        """What the interval allows one to say of the model against the baseline."""
        if self.difference.low > 0:
            return "beats"
        return "does not reach" if self.difference.high < 0 else "cannot be told apart from"


def against(
    model: Mapping[str, Floats], baseline: Mapping[str, Floats], groups: Sequence[str], names: Sequence[str]
) -> list[Beaten]:
    """Compare the marks (N,) of pictures of the same N prompts, for those of the names that there are.

    groups: N ids; prompts of one id are drawn together in the bootstrap.
    """
    found = []
    for name in names:
        if name in model:
            pair = np.stack([model[name], baseline[name]], axis=1)
            apart = interval(lambda rows: float((rows[:, 0] - rows[:, 1]).mean()), [pair], groups=[groups])
            found.append(Beaten(name, float(model[name].mean()), float(baseline[name].mean()), apart))
    return found


def rows(found: Sequence[Beaten]) -> list[Row]:
    """The differences as rows of a table."""
    return [row_of(f"{one.name}, model less baseline", one.difference, baseline=0.0) for one in found]


def sentence(found: Sequence[Beaten]) -> str:
    """What the measures say, those of one word together, with their numbers; "" for none."""
    told = [
        f"{word} {{}} by {_listed([one for one in found if one.word == word])}"
        for word in dict.fromkeys(one.word for one in found)
    ]
    if not told:
        return ""
    first, *rest = told
    first = first.format("the nearest-text baseline")
    return "; ".join([f"On held-out prompts the model {first}", *(f"it {one.format('it')}" for one in rest)]) + "."


def warning(found: Sequence[Beaten]) -> str:
    """What to say where the judge prefers the baseline to the real pictures; "" where it does not.

    found: the baseline's marks, as those of the model, against those of the real pictures.
    """
    better = [one for one in found if one.word == "beats"]
    if not better:
        return ""
    return (
        f"But the CLIP prefers the baseline even to the real pictures of these captions, by {_listed(better)}: "
        "it knows by heart what it was trained on, and there its word is no verdict."
    )


def _listed(found: Sequence[Beaten]) -> str:
    return " and ".join(f"{one.name} ({_number(one, one.model)} to {_number(one, one.baseline)})" for one in found)


def _number(one: Beaten, value: float) -> str:
    """A score as it is, a share in percent."""
    return f"{value:.1f}" if one.name == SCORE else f"{100 * value:.3g} %"
