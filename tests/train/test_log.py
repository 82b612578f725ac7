"""The log of a run: what a killed run wrote too much is dropped, and TensorBoard files on request."""

import json

import pytest

from unstir.train.log import NAME, Log


def written(folder, clocks):
    log = Log(folder, 0)
    for images in clocks:
        log.write(images, {"loss": images / 8})
    log.close()


def clocks(folder):
    return [line["images"] for line in Log.lines(folder)]


def test_one_object_a_line(tmp_path):
    log = Log(tmp_path, 0)
    log.write(8, {"loss": 0.5, "lr": 1e-3})
    # Readable at once, not only after the end.
    assert (tmp_path / NAME).read_text() == '{"images": 8, "loss": 0.5, "lr": 0.001}\n'
    log.close()


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    written(tmp_path, [8, 16, 24, 32])
    log = Log(tmp_path, 16)
    assert clocks(tmp_path) == [8, 16]
    log.write(24, {"loss": 9.0})
    log.close()
    assert Log.lines(tmp_path)[-1] == {"images": 24, "loss": 9.0}
    assert clocks(tmp_path) == [8, 16, 24]


def test_a_new_run_begins_with_an_empty_log(tmp_path):
    written(tmp_path, [8, 16])
    Log(tmp_path, 0).close()
    assert clocks(tmp_path) == []


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_torn_line_is_dropped(tmp_path, cut):
    written(tmp_path, [8, 16])
    path = tmp_path / NAME
    whole = path.read_text()
    torn = json.dumps({"images": 24, "loss": 3.0})
    path.write_text(whole + torn[:cut])
    assert clocks(tmp_path) == [8, 16]
    log = Log(tmp_path, 24)
    log.write(24, {"loss": 3.0})
    log.close()
    assert path.read_text() == whole + torn + "\n"


def test_lines_of_no_log(tmp_path):
    assert Log.lines(tmp_path) == []


def test_opening_survives_a_failing_disk(tmp_path, monkeypatch):
    written(tmp_path, [8, 16, 24])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Log(tmp_path, 16)
    assert clocks(tmp_path) == [8, 16, 24]


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


@pytest.mark.filterwarnings("default")  # of tensorboard's own imports
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    log = Log(tmp_path, 0, tensorboard=True)
    log.write(8, {"loss": 0.5})
    log.write(16, {"loss": 0.25})
    log.close()
    assert scalars(tmp_path) == [(8, 0.5), (16, 0.25)]


@pytest.mark.filterwarnings("default")
def test_tensorboard_keeps_the_point_where_a_run_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    log = Log(tmp_path, 0, tensorboard=True)
    for images in (8, 16, 24):
        log.write(images, {"loss": 0.5})
    log.close()
    again = Log(tmp_path, 16, tensorboard=True)
    again.write(24, {"loss": 0.25})
    again.close()
    assert scalars(tmp_path) == [(8, 0.5), (16, 0.5), (24, 0.25)]
