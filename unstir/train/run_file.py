"""run.json: the configuration of a run, written when it begins and never changed after."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.models.description import dataclass_from, described_kind, settings_of
from unstir.scenes.planner import SceneMix
from unstir.scenes.source import SceneSource
from unstir.settings import Settings
from unstir.train.config import TrainConfig
from unstir.train.distillation import KIND as DISTILLED
from unstir.train.run import current_config

NAME = "run.json"


@dataclass(frozen=True)
class RunFile:
    """The contents of run.json.

    data: where the pictures came from, as it was typed.
    train: the training configuration.
    model: the description of the model (`models.description`).
    notes: for the model file.
    prompts: of the sample grid, for a model that draws.
    settings: the defaults of the finished model, if it draws.
    kind: the kind of training (`train.kinds`); "": that of the kind of model.
    options: further options of that kind of training.
    source: where batches come from; None: the pictures as they are.
    started: whether the weights are initialised from another model, which is in the folder.
    """

    data: str
    train: TrainConfig
    model: Mapping[str, Any]
    notes: Mapping[str, Any]
    prompts: tuple[str, ...] = ()
    settings: Settings | None = None
    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    source: SceneSource | None = None
    started: bool = False

    @property
    def trained_as(self) -> str:
        """The kind in the table of `train.kinds`."""
        return self.kind or str(self.model["kind"])

    def write(self, folder: Path) -> None:
        """Write run.json. From now on the folder holds a run, and the options of the command have no effect on it."""
        values: dict[str, Any] = {
            "data": self.data,
            "train": asdict(self.train),
            "model": dict(self.model),
            "notes": dict(self.notes),
            "prompts": self.prompts,
        }
        if self.settings is not None:
            values["sampling"] = asdict(self.settings)
        if self.kind:
            values |= {"kind": self.kind, "options": dict(self.options)}
        if self.source is not None:
            values["source"] = self.source.values()
        if self.started:
            values["started"] = True
        write_atomic(folder / NAME, json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True))


def read_run_file(folder: Path) -> RunFile:
    """Read run.json of a run folder; UserError if it is missing or damaged."""
    path = folder / NAME
    try:
        match json.loads(path.read_text(encoding="utf-8")):
            case {
                "data": str() as data,
                "prompts": [*prompts],
                "notes": dict() as notes,
                "train": dict() as train,
                "model": {"kind": str()} as model,
                **rest,
            } if all(isinstance(prompt, str) for prompt in prompts):
                kind, options = _kind(rest)
                return RunFile(
                    data,
                    dataclass_from(TrainConfig, current_config(train)),
                    model,
                    notes,
                    tuple(prompts),
                    _settings(model, rest.get("sampling")),
                    kind,
                    options,
                    _source(rest.get("source"), train.get("scenes")),
                    bool(rest.get("started")),
                )
        raise ValueError("a field is missing")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); begin the run anew in another folder") from None


def _kind(rest: Mapping[Any, Any]) -> tuple[str, Mapping[str, Any]]:
    match rest:
        case {"tuning": dict() as options}:  # as versions before 0.2 wrote it
            return DISTILLED, options
        case {"tuning": None}:
            return "", {}
        case {"tuning": other}:
            raise ValueError(f"{other!r} is not a valid value of tuning")
    return str(rest.get("kind", "")), rest.get("options", {})


def _settings(model: Mapping[str, Any], values: Any) -> Settings | None:
    """The settings of the model's kind; versions before 0.2 wrote some for a CLIP too."""
    kind = described_kind(model).settings
    if kind is None:
        return None
    if not isinstance(values, dict):
        raise ValueError("the field sampling is missing")
    return settings_of(kind, values)


def _source(values: Any, scenes: Any) -> SceneSource | None:
    """The source of batches.

    values: of the field `source`.
    scenes: a field of the training configuration in versions before 0.2: true, or the fractions of a mix.
    """
    match values, scenes:
        case None, None | False:
            return None
        case None, True:
            return SceneSource()
        case {"kind": "scenes", "mix": dict() as mix}, _:
            return SceneSource(dataclass_from(SceneMix, mix))
        case None, dict() as mix:
            return SceneSource(dataclass_from(SceneMix, mix))
    raise ValueError("this version does not have its source of batches")
