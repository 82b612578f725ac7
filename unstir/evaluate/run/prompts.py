"""Which captions are prompts: of pictures that training showed and of held-out ones.

Pictures of one group (all drawings of one thing by one hand) are alike. With siblings of the prompts' pictures in the
set that generated ones are compared with, a model would look better than it is. So every side is split by group into
three parts of about equal size: the captions of one are prompts, the other two are what generated pictures are
compared with (`metrics.distribution` makes reference and floor of them).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unstir.diffusion.noise import derive_seed
from unstir.errors import UserError
from unstir.evaluate.run.held_out import HeldOutSplit
from unstir.evaluate.statistics.arrays import Indices
from unstir.evaluate.statistics.resampling import permutation
from unstir.evaluate.statistics.split_half import split_by_group

_SEEN, _HELD_OUT = 0x5EE7, 0x4E1D
"""Keep the random numbers of the two sides apart."""

_PARTS = 3


@dataclass(frozen=True)
class Prompt:
    """number: its own for good; the picture's seed is the evaluation's plus this.  row: of the real picture."""

    number: int
    row: int
    held_out: bool


@dataclass(frozen=True, eq=False)
class PromptChoice:
    """prompts: in the order of their numbers.

    seen, held_out: rows of the real pictures to compare with, of other groups than the prompts'; in random order.
    """

    prompts: list[Prompt]
    seen: Indices
    held_out: Indices


def choose_prompts(split: HeldOutSplit, count: int, seed: int, groups: Sequence[str]) -> PromptChoice:
    """About `count` prompts, half of them of held-out pictures, where there are any; none twice.

    groups: an id for each picture. At most a third of the pictures of either side have captions that are prompts;
    where a side is one group, all of them, and nothing is left to compare with.
    A function of (split, seed, groups), of which more prompts begin with fewer.
    Raises ValueError for a count below 2, UserError for fewer than two pictures seen.
    """
    if count < 2:
        raise ValueError(f"there must be two prompts or more, not {count}")
    if len(split.seen) < 2:
        raise UserError("an evaluation needs two or more captioned pictures that the model was trained on")
    sides = 2 if len(split.held_out) > 1 else 1
    prompts: list[Prompt] = []
    others = []
    for side, (rows, stream) in enumerate(((split.seen, _SEEN), (split.held_out, _HELD_OUT))):
        if side >= sides:
            others.append(rows)
            continue
        with_prompts, without = _parted(rows, [groups[row] for row in rows], derive_seed(seed, stream))
        taken = with_prompts[: -(-count // sides) if side == 0 else count // sides]
        prompts += [Prompt(sides * i + side, int(row), side == 1) for i, row in enumerate(taken)]
        others.append(without)
    return PromptChoice(sorted(prompts, key=lambda prompt: prompt.number), *others)


def prompt_rows(prompts: Sequence[Prompt]) -> Indices:
    """(N,) the rows of their pictures."""
    return np.array([prompt.row for prompt in prompts], dtype=np.int64)


def _parted(rows: Indices, groups: list[str], seed: int) -> tuple[Indices, Indices]:
    """The rows whose captions may be prompts, and the rows to compare with; both in random order."""
    first, *others = split_by_group(len(rows), _PARTS, seed, groups)
    rest = np.concatenate(others)
    return rows[first[permutation(len(first), seed, 1)]], rows[rest[permutation(len(rest), seed, 3)]]
