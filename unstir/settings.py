"""The settings of a picture, each written once: its default, what it does, and which values it may have.

A kind of model that draws names one dataclass of this file as its settings. Command-line options, the fields of a
request, the Python interface and the messages for bad values are made from it. Nothing here imports torch, so that
`unstir generate --help` answers at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from unstir.diffusion.samplers import SAMPLER_NAMES

SPACING_NAMES = ("uniform", "logsnr", "karras")


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name, type and default.

    help: one sentence for the command line.
    option: name on the command line, without dashes, where it is not the field's own.
    least, most: bounds of a number, both allowed.
    above: a bound of a number that is not allowed itself.
    choices: the values of a text.
    """

    help: str
    option: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()

    def fault(self, value: Any) -> str:
        """What is wrong with a value, as the end of a sentence ("must be 1 or more"); "" if nothing is."""
        if isinstance(value, tuple):
            return next((fault for fault in map(self.fault, value) if fault), "")
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        if not math.isfinite(value):
            return "must be a finite number"
        if self.above is not None and (value <= self.above or (self.most is not None and value > self.most)):
            return f"must be above {self.above:g}" + ("" if self.most is None else f" and at most {self.most:g}")
        if self.least is not None and self.most is not None and not self.least <= value <= self.most:
            return f"must be {self.least:g} to {self.most:g}"
        if self.least is not None and value < self.least:
            return f"must be {self.least:g} or more"
        return ""


def setting(default: Any, help: str, **known: Any) -> Any:  # noqa: A002 - the word that command lines use
    """A field of a settings dataclass. known: as in `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **known)})


class BadSetting(ValueError):
    """A setting has a value that it cannot have.

    name: of the field.  option: as on the command line.  fault: the end of the sentence, with the value.
    """

    def __init__(self, name: str, option: str, fault: str) -> None:
        super().__init__(f"{name} {fault}")
        self.name, self.option, self.fault = name, option, fault


@dataclass(frozen=True)
class Settings:
    """What a kind of model can be asked for beside words and seed. Raises BadSetting where a value cannot be."""

    def __post_init__(self) -> None:
        for name, known in self.table().items():
            value = getattr(self, name)
            fault = "" if value is None else known.fault(value)
            if fault:
                raise BadSetting(name, known.option or name, f"{fault}, got {value}")

    @classmethod
    def table(cls) -> dict[str, Setting]:
        """Every setting of this kind by the name of its field."""
        return {f.name: f.metadata["setting"] for f in fields(cls)}

    def changed(self, values: Mapping[str, Any]) -> Self:
        """These settings with others in place of some; None keeps what is here.

        Raises BadSetting for a value that cannot be, ValueError for a name that this kind does not have.
        """
        given = {name: value for name, value in values.items() if value is not None}
        unknown = set(given) - set(self.table())
        if unknown:
            has = ", ".join(self.table()) or "none"
            raise ValueError(f"this kind of model has no setting {', '.join(sorted(unknown))}; it has: {has}")
        return replace(self, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


@dataclass(frozen=True)
class DiffusionSettings(Settings):
    """Of a model that denoises."""

    steps: int = setting(
        24,
        "Denoising steps: more is finer and slower. Few-step weights are used if the model has them.",
        least=1,
        most=10_000,
    )
    sampler: str = setting("dpmpp_2m", "How each step is computed.", choices=SAMPLER_NAMES)
    guidance_scale: float = setting(
        3.0, "Classifier-free guidance scale: how strongly to follow the prompt; 1 is off.", option="guidance"
    )
    interval: tuple[float, float] = setting(
        (0.0, 1.0),
        "Times, from 1 (noise) to 0 (picture), within which guidance is on: low end, then high end.",
        option="guidance-interval",
        least=0,
        most=1,
    )
    spacing: str = setting("uniform", "How the steps are spaced in time.", choices=SPACING_NAMES)
    shift: float = setting(1.0, "More than 1 spends more steps on noise, for large pictures.", above=0)
    threshold: float = setting(
        1.0, "Percentile of dynamic thresholding, 0 to 1; 1 clips pixels plainly.", above=0, most=1
    )
    eta: float = setting(0.0, "Fresh noise of the sampler ddim: 0 none, 1 as much as ddpm.", least=0, most=1)
    corrector_steps: int = setting(
        1,
        "Steps of Langevin dynamics of the sampler pc at every noise level.",
        option="corrector-steps",
        least=0,
        most=100,
    )
    corrector_snr: float = setting(
        0.16,
        "Signal-to-noise ratio of these steps: the larger, the farther each goes.",
        option="corrector-snr",
        above=0,
        most=1,
    )
    negative: str = setting("", "Negative prompt: what the picture is guided away from.")
    size: int | None = setting(None, "Side in pixels, a multiple of the model's patch.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.interval
        if low > high:
            raise BadSetting("interval", "guidance-interval", f"must have its low end first, got {low:g} {high:g}")
        if self.eta and self.sampler != "ddim":
            raise BadSetting("eta", "eta", f"belongs to the sampler ddim, and {self.sampler} is asked for")
        for name in ("corrector_steps", "corrector_snr"):
            if self.sampler != "pc" and getattr(self, name) != _default(self, name):
                option = self.table()[name].option
                raise BadSetting(name, option, f"belongs to the sampler pc, and {self.sampler} is asked for")
        _check_negative(self)

    def frames(self, intervals: int) -> int:
        """How many steps the sampler yields for so many intervals of the time grid."""
        return intervals + (intervals - 1) * self.corrector_steps if self.sampler == "pc" else intervals

    def by_ddim(self) -> Self:
        """These settings for the way back from an inversion: the sampler ddim without guidance."""
        corrector = {name: _default(self, name) for name in ("corrector_steps", "corrector_snr")}
        return replace(self, guidance_scale=1.0, sampler="ddim", negative="", **corrector)


def _check_negative(settings: Any) -> None:
    if settings.negative and settings.guidance_scale == 1:
        raise BadSetting("negative", "negative", "works through guidance; give a --guidance above 1 with it")


def _default(settings: Settings, name: str) -> Any:
    return next(f.default for f in fields(settings) if f.name == name)


@dataclass(frozen=True)
class PreviousStepSettings(Settings):
    """Of a model that predicts the previous step; its number of steps is fixed by its training."""

    guidance_scale: float = setting(
        3.0, "Classifier-free guidance scale: how strongly to follow the prompt; 1 is off.", option="guidance"
    )
    negative: str = setting("", "Negative prompt: what the picture is guided away from.")
    posterior_noise: float = setting(
        1.0,
        "Fresh noise of every step of a model that predicts the previous step: 1 as much as ddpm, 0 none.",
        option="posterior-noise",
        least=0,
        most=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_negative(self)


VARIATION_STRENGTH, EDIT_STRENGTH = 0.6, 0.35
"""Defaults: how far variations are from their picture, and how far a picture goes in a direction of words."""

PRIOR_NAMES = ("diffusion", "ridge", "none")


@dataclass(frozen=True)
class UnclipSettings(DiffusionSettings):
    """Of a model that draws CLIP embeddings of pictures first, and then pictures of them."""

    prior: str = setting(
        "diffusion",
        "How the embedding of a text becomes that of a picture; none uses it as it is.",
        choices=PRIOR_NAMES,
    )
    prior_steps: int = setting(
        24, "Denoising steps of the diffusion prior.", option="prior-steps", least=1, most=10_000
    )
    prior_guidance: float = setting(2.0, "Guidance scale of the diffusion prior; 1 is off.", option="prior-guidance")


@dataclass(frozen=True)
class CascadeSettings(DiffusionSettings):
    """Of a model that draws a small picture first and enlarges it in stages."""

    enlarging_steps: int = setting(
        12, "Denoising steps of every stage that enlarges.", option="enlarging-steps", least=1, most=10_000
    )
    augmentation: float = setting(
        0.2, "Noise level at which a stage is shown the smaller picture, 0 to 0.9.", least=0, most=0.9
    )


def _temperature(default: float, what: str) -> Any:
    return setting(default, what, least=0, most=10)


@dataclass(frozen=True)
class VaeSettings(Settings):
    """Of a variational autoencoder."""

    temperature: float = _temperature(
        1.0, "How far draws are spread around the most likely picture; 0 is that picture."
    )


@dataclass(frozen=True)
class CodeSettings(Settings):
    """Of a model that draws codes one after the other."""

    temperature: float = _temperature(1.0, "Above 1 more varied, below 1 more likely codes; 0 takes the likeliest.")
    top_k: int = setting(0, "Draw each code from the k likeliest ones only; 0: from all.", option="top-k", least=0)
    guidance_scale: float = setting(
        2.0, "Classifier-free guidance scale: how strongly to follow the prompt; 1 is off.", option="guidance", least=0
    )


@dataclass(frozen=True)
class MaskedCodeSettings(CodeSettings):
    """Of a model that draws codes in parallel, in a few steps."""

    steps: int = setting(12, "Steps; in each some codes are drawn.", least=1, most=10_000)
    choice_temperature: float = setting(
        4.5, "How random it is which codes are kept in a step.", option="choice-temperature", least=0, most=100
    )


@dataclass(frozen=True)
class PixelSettings(Settings):
    """Of a model that draws pixels one after the other."""

    temperature: float = _temperature(1.0, "Above 1 more varied, below 1 more likely values; 0 takes the likeliest.")
    guidance_scale: float = setting(
        1.0, "Classifier-free guidance scale: how strongly to follow the prompt; 1 is off.", option="guidance", least=0
    )
