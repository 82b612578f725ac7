"""What is asked: a function of split and seed, more begin with fewer, and others are left to compare to."""

import numpy as np
import pytest

from unstir.errors import UserError
from unstir.evaluate.held_out import Split
from unstir.evaluate.prompts import choose, rows_of

SPLIT = Split(np.arange(100), np.arange(100, 130))


def test_half_are_held_out_and_numbers_tell_the_sides_apart():
    choice = choose(SPLIT, 20, 3)
    assert [prompt.number for prompt in choice.prompts] == list(range(20))
    assert [prompt.held_out for prompt in choice.prompts] == [False, True] * 10
    assert all((prompt.row >= 100) == prompt.held_out for prompt in choice.prompts)
    assert len(set(rows_of(choice.prompts).tolist())) == 20


def test_nobody_is_asked_and_compared_to():
    choice = choose(SPLIT, 40, 0)
    rows = set(rows_of(choice.prompts).tolist())
    assert not rows & {*choice.seen.tolist(), *choice.held_out.tolist()}
    assert rows | {*choice.seen.tolist(), *choice.held_out.tolist()} == set(range(130))


def test_at_most_half_of_a_side():
    choice = choose(SPLIT, 1000, 0)
    assert sum(prompt.held_out for prompt in choice.prompts) == 15
    assert sum(not prompt.held_out for prompt in choice.prompts) == 50
    assert len(choice.held_out) == 15


def test_more_prompts_begin_with_fewer_and_other_seeds_are_others():
    few, many = choose(SPLIT, 10, 1).prompts, choose(SPLIT, 24, 1).prompts
    assert many[:10] == few
    assert choose(SPLIT, 10, 1).prompts == few
    assert choose(SPLIT, 10, 2).prompts != few


def test_without_anything_held_out():
    choice = choose(Split(np.arange(9), np.arange(0)), 3, 0)
    assert [(prompt.number, prompt.held_out) for prompt in choice.prompts] == [(0, False), (1, False), (2, False)]
    assert len(choice.held_out) == 0
    assert len(choose(Split(np.arange(9), np.array([9])), 4, 0).prompts) == 4


def test_too_few():
    with pytest.raises(ValueError, match="two prompts"):
        choose(SPLIT, 1, 0)
    with pytest.raises(UserError, match="two captioned pictures"):
        choose(Split(np.arange(1), np.arange(1, 9)), 4, 0)
