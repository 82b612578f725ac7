"""How a run begins: how many pictures are read when the budget is short."""

import time

import pytest

from unstir.data.entry import Entry, Source
from unstir.train.read_data import MIN_PICTURES, READING_FRACTION, _within_budget
from unstir.train.run_setup import RunSetup


class Said(list):
    def say(self, sentence):
        self.append(sentence)


def fitted(tmp_path, count, seconds):
    """How many of `count` pictures are used where all take `seconds` of a budget of 100, and what was said."""
    said = Said()
    at = RunSetup("here", tmp_path, "cpu", budget=100.0, began=time.monotonic(), reporter=said)
    entries = [Entry(str(i), "a picture", {}, bytes) for i in range(count)]
    return len(_within_budget(at, Source("here", "folder", entries, []), seconds).entries), said


@pytest.mark.parametrize(
    ("count", "seconds", "used"),
    [
        (10_000, 30.0, 10_000),
        (10_000, 80.0, 10_000 * 100 * READING_FRACTION / 80),
        (10_000, 10_000.0, MIN_PICTURES),
        (MIN_PICTURES, 10_000.0, MIN_PICTURES),  # as where the first picture of the sample was slow
        (3, 10_000.0, 3),
    ],
)
def test_as_many_pictures_are_read_as_leave_time_to_train(tmp_path, count, seconds, used):
    found, said = fitted(tmp_path, count, seconds)
    assert found == pytest.approx(used, rel=0.1)
    assert len(said) == (found < count)
    assert all("a longer --budget uses all" in sentence for sentence in said)
