"""A run with a budget ends by the clock, whatever the machine does; and its decisions can be replayed."""

import json
from itertools import pairwise

import pytest

from unstir.errors import UserError
from unstir.train.config import TrainConfig
from unstir.train.schedule import DECISIONS, Clock, Decision, Schedule

BATCH = 10


def config(**fields):
    return TrainConfig(**({"images": 1000, "batch_size": BATCH, "warmup": 100, "budget": 100.0} | fields))


def simulated(seconds_a_step, closing=2.0, evaluation_every=0, **fields):
    """Train against a made-up clock. seconds_a_step: (time) -> seconds. Returns the schedule, pictures and seconds."""
    schedule, time = Schedule(config(**fields)), 0.0
    clock = Clock(schedule, 0.0, closing, lambda: time)
    images, factors = 0, []
    while not schedule.finished(images):
        factors.append(schedule.lr_factor(images))
        time += seconds_a_step(time)
        images += BATCH
        if evaluation_every and images % evaluation_every == 0:
            time += closing
        decision = clock.decide(images)
        if decision is not None:
            schedule.decisions.append(decision)
    return schedule, images, time + closing, factors


@pytest.mark.parametrize(
    "speed",
    [
        lambda _: 0.01,
        lambda _: 0.5,
        lambda time: 0.02 if time < 40 or time > 60 else 0.04,  # a core taken away in the middle and given back
        lambda time: 0.02 if time < 70 or time > 85 else 0.04,  # … in the cool-down
        lambda time: 0.02 if time < 50 else 0.05,  # … for good
        lambda time: 0.05 if time < 75 else 0.02,
    ],
)
def test_the_budget_is_kept_on_a_machine_that_changes(speed):
    _, _, seconds, _ = simulated(speed)
    assert 95 < seconds < 103


def test_a_steady_machine_ends_on_time():
    _, images, seconds, factors = simulated(lambda _: 0.02, evaluation_every=5000)
    assert 97 < seconds < 103
    assert images > 40_000
    assert factors[-1] < 0.02, "the learning rate falls to zero"
    peak = factors[20 : int(0.6 * len(factors))]
    assert set(peak) == {1.0}
    cooling = factors[int(0.75 * len(factors)) :]
    assert all(a >= b for a, b in pairwise(cooling))
    assert factors[0] == pytest.approx(BATCH / 100), "warm-up"


def test_decisions_are_few_and_join():
    schedule, *_ = simulated(lambda time: 0.02 if time < 80 else 0.03)
    assert 1 < len(schedule.decisions) <= DECISIONS
    starts = [one.start for one in schedule.decisions]
    assert starts == sorted(starts)
    for before, after in pairwise(schedule.decisions):
        left = (before.end - after.start) / (before.end - before.start)
        assert after.factor == pytest.approx(before.factor * left)


def test_decisions_are_replayed(tmp_path):
    """What was decided after a checkpoint is not decided again by a run that continues from it."""
    schedule, images, _, factors = simulated(lambda _: 0.02)
    schedule.save(tmp_path)
    again = Schedule.load(tmp_path, config())
    assert again.decisions == schedule.decisions
    clock = Clock(again, 50.0, 2.0, lambda: 0.0)
    seen = 0
    while not again.finished(seen):
        assert again.lr_factor(seen) == factors[seen // BATCH]
        seen += BATCH
        assert clock.decide(seen) is None
    assert seen == images


def test_a_machine_too_slow_for_one_step_trains_one():
    schedule, images, _, _ = simulated(lambda _: 300.0)
    assert images == 2 * BATCH
    assert schedule.finished(images)


def test_without_a_budget_pictures_are_counted():
    plain = config(budget=None)
    schedule = Schedule(plain)
    assert [schedule.lr_factor(seen) for seen in range(0, 1000, 50)] == [
        plain.lr_factor(seen) for seen in range(0, 1000, 50)
    ]
    assert schedule.end(0) == 1000
    assert not schedule.finished(990)
    assert schedule.finished(1000)


def test_a_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / "schedule.json").write_text(json.dumps([{"start": 1}]))
    with pytest.raises(UserError, match=r"schedule\.json is damaged"):
        Schedule.load(tmp_path, config())
    assert Schedule.load(tmp_path, config(budget=None)).decisions == []


def test_a_decision_is_in_force_from_its_start():
    schedule = Schedule(config(), [Decision(100, 1.0, 200), Decision(150, 0.5, 250)])
    assert schedule.end(90) is None
    assert schedule.end(100) == 200
    assert schedule.end(150) == 250
    assert schedule.lr_factor(200) == pytest.approx(0.25)
