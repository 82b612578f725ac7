"""Prompts: a function of split, groups and seed, more begin with fewer, and other groups are left to compare with."""

import numpy as np
import pytest

from unstir.errors import UserError
from unstir.evaluate.run.held_out import HeldOutSplit
from unstir.evaluate.run.prompts import choose_prompts, prompt_rows

SPLIT = HeldOutSplit(np.arange(100), np.arange(100, 130))
EACH = [str(i) for i in range(130)]
CELLS = [f"cell {i // 4}" for i in range(130)]  # 25 cells seen, 8 held out


def test_half_are_held_out_and_numbers_tell_the_sides_apart():
    choice = choose_prompts(SPLIT, 20, 3, EACH)
    assert [prompt.number for prompt in choice.prompts] == list(range(20))
    assert [prompt.held_out for prompt in choice.prompts] == [False, True] * 10
    assert all((prompt.row >= 100) == prompt.held_out for prompt in choice.prompts)
    assert len(set(prompt_rows(choice.prompts).tolist())) == 20


@pytest.mark.parametrize("groups", [EACH, CELLS])
@pytest.mark.parametrize("count", [2, 20, 1000])
def test_no_group_has_prompts_and_stands_in_the_reference(groups, count):
    for seed in range(10):
        choice = choose_prompts(SPLIT, count, seed, groups)
        rows = prompt_rows(choice.prompts).tolist()
        others = [*choice.seen.tolist(), *choice.held_out.tolist()]
        assert not {groups[row] for row in rows} & {groups[row] for row in others}
        assert set(choice.seen) < set(range(100))
        assert set(choice.held_out) < set(range(100, 130))


def test_at_most_a_third_of_a_side():
    choice = choose_prompts(SPLIT, 1000, 0, EACH)
    assert sum(prompt.held_out for prompt in choice.prompts) == len(choice.held_out) // 2 == 10
    assert sum(not prompt.held_out for prompt in choice.prompts) == 34
    assert len(choice.seen) == 66


def test_the_pictures_to_compare_with_do_not_depend_on_the_number_of_prompts():
    few, many = choose_prompts(SPLIT, 4, 1, CELLS), choose_prompts(SPLIT, 24, 1, CELLS)
    assert np.array_equal(few.seen, many.seen)
    assert np.array_equal(few.held_out, many.held_out)


def test_more_prompts_begin_with_fewer_and_other_seeds_are_others():
    few, many = choose_prompts(SPLIT, 10, 1, CELLS).prompts, choose_prompts(SPLIT, 20, 1, CELLS).prompts
    assert many[:10] == few
    assert choose_prompts(SPLIT, 10, 1, CELLS).prompts == few
    assert choose_prompts(SPLIT, 10, 2, CELLS).prompts != few


def test_without_anything_held_out():
    choice = choose_prompts(HeldOutSplit(np.arange(9), np.arange(0)), 3, 0, EACH)
    assert [(prompt.number, prompt.held_out) for prompt in choice.prompts] == [(0, False), (1, False), (2, False)]
    assert len(choice.held_out) == 0
    # One held-out picture is too few for a side of its own.
    assert len(choose_prompts(HeldOutSplit(np.arange(9), np.array([9])), 4, 0, EACH).prompts) == 3


def test_a_single_group_has_prompts_and_nothing_to_compare_with():
    choice = choose_prompts(HeldOutSplit(np.arange(9), np.arange(9, 12)), 12, 0, ["a"] * 12)
    assert sum(not prompt.held_out for prompt in choice.prompts) == 6
    assert sum(prompt.held_out for prompt in choice.prompts) == 3
    assert len(choice.seen) == len(choice.held_out) == 0


def test_too_few():
    with pytest.raises(ValueError, match="two prompts"):
        choose_prompts(SPLIT, 1, 0, EACH)
    with pytest.raises(UserError, match="two or more captioned pictures"):
        choose_prompts(HeldOutSplit(np.arange(1), np.arange(1, 9)), 4, 0, EACH)
