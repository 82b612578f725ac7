"""What is asked of the model: the plain captions of some pictures it was trained on and of some it never saw."""

from dataclasses import dataclass

import numpy as np

from unstir.data.order import order
from unstir.diffusion.noise import derive_seed
from unstir.errors import UserError
from unstir.evaluate.held_out import Split
from unstir.evaluate.rows import Indices

_SEEN, _HELD_OUT = 0x5EE7, 0x4E1D
"""Keep the draws of the two sides apart."""


@dataclass(frozen=True)
class Prompt:
    """number: its own for good; the picture's seed is the evaluation's plus this.  row: of the real picture."""

    number: int
    row: int
    held_out: bool


@dataclass(frozen=True, eq=False)
class Choice:
    """prompts: in the order of their numbers.

    seen, held_out: rows of real pictures that lent no caption, which generated ones may be compared to; at random.
    """

    prompts: list[Prompt]
    seen: Indices
    held_out: Indices


def choose(split: Split, count: int, seed: int) -> Choice:
    """About `count` prompts, half of them of pictures held out, where there are any; without repetition.

    At most half of the pictures of either side lend their captions: the others are what the generated ones are
    compared to, and pictures of one caption are more alike than those of a set. A function of (split, seed), of which
    more prompts begin with fewer. Raises ValueError for a count below 2, UserError for fewer than two pictures seen.
    """
    if count < 2:
        raise ValueError(f"there must be two prompts or more, not {count}")
    if len(split.seen) < 2:
        raise UserError("an evaluation needs two captioned pictures or more that the model was trained on")
    sides = 2 if len(split.held_out) > 1 else 1
    prompts: list[Prompt] = []
    rest = []
    for side, (rows, stream) in enumerate(((split.seen, _SEEN), (split.held_out, _HELD_OUT))):
        if not len(rows):
            rest.append(rows)
            continue
        mixed_up = rows[order(len(rows), derive_seed(seed, stream), 0, len(rows))]
        taken = min(-(-count // sides) if side == 0 else count // sides, len(rows) // 2)
        prompts += [Prompt(sides * i + side, int(row), side == 1) for i, row in enumerate(mixed_up[:taken])]
        rest.append(mixed_up[taken:])
    return Choice(sorted(prompts, key=lambda prompt: prompt.number), *rest)


def rows_of(prompts: list[Prompt]) -> Indices:
    """(N,) the rows of their pictures."""
    return np.array([prompt.row for prompt in prompts], dtype=np.int64)
