"""Value, ceiling and floor at one N: equal for equal distributions, and siblings in the reference would lower them."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from unstir.evaluate.metrics.distribution import (
    FRECHET,
    KERNEL,
    LEAST,
    compare_sets,
    distribution_metrics,
    set_distances,
)
from unstir.evaluate.metrics.frechet_distance import frechet_distance
from unstir.evaluate.run.held_out import HeldOutSplit
from unstir.evaluate.run.prompts import choose_prompts, prompt_rows


def normal(rows, dims=4, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, dims)) + shift


def each(count, start=0):
    return [str(i) for i in range(start, start + count)]


def test_value_floor_and_ceiling_of_equal_distributions_agree_and_others_do_not():
    others, prompted = normal(400, seed=1), normal(500, seed=4)
    same = compare_sets(others, normal(500, seed=2), prompted)
    assert same.rows == 200
    found = same.distances[FRECHET]
    assert found.value == pytest.approx(found.floor, rel=0.6)
    assert found.ceiling == pytest.approx(found.floor, rel=0.6)
    assert list(same.distances) == [FRECHET, KERNEL, "precision", "recall", "density", "coverage"]
    apart = compare_sets(others, normal(500, seed=2, shift=1.0), prompted).distances
    assert apart[FRECHET].value > 10 * apart[FRECHET].ceiling
    assert apart[KERNEL].value > 10 * abs(apart[KERNEL].ceiling)
    assert apart["precision"].value < apart["precision"].ceiling
    assert json.loads(json.dumps(asdict(same))) == asdict(same)
    assert same == compare_sets(others, normal(500, seed=2), prompted)


def test_all_sides_have_one_number_of_rows():
    seen = []

    def count(reference, other):
        seen.append((len(reference), len(other)))
        return {"rows": len(other)}

    for others, generated, rows in ((100, 500, 50), (100, 30, 30), (101, 50, 50)):
        seen.clear()
        got = compare_sets(normal(others), normal(generated), normal(generated), count, splits=2)
        assert got.rows == rows
        assert set(seen) == {(rows, rows)}
        assert got.distances["rows"].floor == got.distances["rows"].ceiling == rows


def test_generated_and_real_pictures_of_the_same_prompts_are_compared():
    def first(_reference, other):
        return {"first": other[:, 0].sum()}

    made, prompted = np.arange(40.0)[:, None], np.arange(40.0)[:, None] + 1000
    got = compare_sets(normal(20, 1), made, prompted, first).distances["first"]
    assert got.ceiling - got.value == pytest.approx(10 * 1000)


def test_why_the_numbers_must_be_equal():
    # The same two distributions: with a tenth of the rows the distance is a multiple.
    few, many = (frechet_distance(normal(rows, 16, 1), normal(rows, 16, 2)).value for rows in (50, 500))
    assert few > 5 * many


def clustered(cells, each=3, dims=8, seed=0):
    """Cells of similar pictures, and their ids."""
    rng = np.random.default_rng(seed)
    drawings = np.repeat(rng.normal(size=(cells, dims)), each, axis=0)
    return drawings + 0.1 * rng.normal(size=drawings.shape), np.repeat(
        [f"cell {i}" for i in range(cells)], each
    ).tolist()


def distances_of_real_prompts(pictures, groups, seed, choose):
    """Ceiling and floor where the "generated" pictures are the real ones of the prompts."""
    prompts, others = choose(pictures, groups, seed)
    got = compare_sets(
        pictures[others], pictures[prompts], pictures[prompts], seed=seed, groups=[groups[i] for i in others]
    )
    return got.distances[FRECHET].ceiling, got.distances[FRECHET].floor


def by_cell(pictures, groups, seed):
    split = HeldOutSplit(np.arange(len(pictures)), np.arange(0))
    choice = choose_prompts(split, 80, seed, groups)
    return prompt_rows(choice.prompts), choice.seen


def by_picture(pictures, groups, seed):
    mixed = np.random.default_rng(seed).permutation(len(pictures))
    return mixed[:80], mixed[80:]


def test_ceiling_and_floor_differ_by_chance_alone_where_cells_are_kept_apart():
    """With siblings of the prompts in the reference, real pictures come out nearer than a floor that has none."""
    found = {choose: [] for choose in (by_cell, by_picture)}
    for seed in range(12):
        pictures, groups = clustered(90, seed=seed)
        for choose, ratios in found.items():
            ceiling, floor = distances_of_real_prompts(pictures, groups, seed, choose)
            ratios.append(ceiling / floor)
    error = np.std(found[by_cell]) / np.sqrt(12)
    assert np.mean(found[by_cell]) == pytest.approx(1, abs=3 * error)
    assert np.mean(found[by_picture]) < 0.9 < np.mean(found[by_cell])


def test_intervals_and_the_excess_over_the_ceiling():
    others, prompted = normal(240, seed=1), normal(120, seed=2)
    groups = each(240), each(120)
    metrics, count = distribution_metrics(others, normal(120, seed=3, shift=0.7), prompted, *groups)
    assert count == 120
    far = metrics[0]
    assert far.name == FRECHET
    assert far.excess == far.value - far.ceiling
    assert far.interval[0] < far.value < far.interval[1]
    assert far.excess_interval[0] > 0
    metrics, _ = distribution_metrics(others, normal(120, seed=3), prompted, *groups)
    low, high = metrics[0].excess_interval
    assert low < metrics[0].excess < high
    assert low < 0 < high
    for one in metrics:
        if one.name in ("precision", "recall", "coverage") and one.interval is not None:
            assert 0 <= one.interval[0] <= one.value <= one.interval[1] <= 1


def test_a_model_that_gives_back_the_real_pictures_has_no_excess():
    others, prompted = normal(240, seed=1), normal(120, seed=2)
    metrics, _ = distribution_metrics(others, prompted, prompted, each(240), each(120))
    assert {one.excess for one in metrics} == {0.0}
    assert metrics[0].excess_interval == (0.0, 0.0)


def test_few_pictures():
    few = normal(2 * LEAST - 2), normal(30), normal(30)
    assert distribution_metrics(*few, each(len(few[0])), each(30)) == ([], 0)
    some = normal(2 * LEAST), normal(30), normal(30, seed=1)
    metrics, count = distribution_metrics(*some, each(len(some[0])), each(30))
    assert count == LEAST
    assert [one.interval for one in metrics] == [None] * 6
    assert distribution_metrics(normal(60), normal(30), normal(30), ["one cell"] * 60, each(30)) == ([], 0)


def test_by_name():
    got = set_distances(normal(40, seed=1), normal(40, seed=2))
    assert got[FRECHET] == frechet_distance(normal(40, seed=1), normal(40, seed=2)).value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_sets(normal(20), normal(20), normal(20), splits=0), "splits must be 1 or more"),
        (lambda: compare_sets(normal(20), normal(20, 3), normal(20, 3)), "4 and 3 dimensions"),
        (lambda: compare_sets(normal(20), normal(20), normal(19)), r"must be \(20, 4\), not \(19, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
