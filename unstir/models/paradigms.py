"""The table of paradigms: one record for each kind of model. Everything that depends on the kind is looked up here.

`train.kinds` is the half of the table for training. A new kind is one record: a line in `BUILT_IN`, or a call of
`register` from outside the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from unstir.settings import Settings
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Paradigm:
    """One kind of model.

    name: its `kind` in model files and on the command line.
    title: what messages call it, "a GAN".
    model: a class of torch module, made from (config, tokenizer), or from (config) where there is no tokenizer.
    config: the frozen dataclass of its configuration; `shape` gives (channels, side, side) of its pictures. A field
        `text` with `vocabulary` and `length` is filled in from the captions.
    settings: the dataclass of its settings for drawing; None: it does not draw.
    tokenizer: makes the tokenizer from its JSON in the model file; None: it reads no text.
    clip_guidance: whether its `draw` takes `wrap`, a function around its denoiser.
    likelihood: what its `picture_bits` are: "exact", an upper "bound", or "none" where it has none.
    """

    name: str
    title: str
    model: Callable[..., nn.Module]
    config: type
    settings: type[Settings] | None
    tokenizer: Callable[[str], Tokenizer] | None = Tokenizer
    clip_guidance: bool = False
    likelihood: Literal["exact", "bound", "none"] = "none"


def _diffusion() -> Paradigm:
    from unstir.models.diffusion import Diffusion, DiffusionConfig
    from unstir.settings import DiffusionSettings

    return Paradigm(
        "diffusion",
        "a diffusion model",
        Diffusion,
        DiffusionConfig,
        DiffusionSettings,
        clip_guidance=True,
        likelihood="bound",
    )


def _previous_step() -> Paradigm:
    from unstir.models.previous_step import PreviousStep, PreviousStepConfig
    from unstir.settings import PreviousStepSettings

    title = "a model that predicts the previous step"
    return Paradigm("previous-step", title, PreviousStep, PreviousStepConfig, PreviousStepSettings)


def _clip() -> Paradigm:
    from unstir.models.clip import Clip, ClipConfig
    from unstir.text.clip_tokenizer import tokenizer_of

    return Paradigm("clip", "a CLIP", Clip, ClipConfig, None, tokenizer_of)


def _autoencoder() -> Paradigm:
    from unstir.models.autoencoder import Autoencoder, AutoencoderConfig

    return Paradigm("autoencoder", "an autoencoder", Autoencoder, AutoencoderConfig, None, None)


def _latent() -> Paradigm:
    from unstir.models.latent_diffusion import LatentConfig, LatentDiffusion
    from unstir.settings import DiffusionSettings

    return Paradigm("latent", "a latent diffusion model", LatentDiffusion, LatentConfig, DiffusionSettings)


def _vae() -> Paradigm:
    from unstir.models.vae import Vae
    from unstir.models.vae_ladder import VaeConfig
    from unstir.settings import VaeSettings

    return Paradigm("vae", "a VAE", Vae, VaeConfig, VaeSettings, likelihood="bound")


def _vqvae() -> Paradigm:
    from unstir.models.code_model import CodeModel, CodeModelConfig
    from unstir.settings import CodeSettings

    return Paradigm("vqvae", "a VQ-VAE with an autoregressive prior", CodeModel, CodeModelConfig, CodeSettings)


def _maskgit() -> Paradigm:
    from unstir.models.code_model import MaskedCodeModel, MaskedCodeModelConfig
    from unstir.settings import MaskedCodeSettings

    title = "a VQ-VAE with a masked prior"
    return Paradigm("maskgit", title, MaskedCodeModel, MaskedCodeModelConfig, MaskedCodeSettings)


def _unclip() -> Paradigm:
    from unstir.models.unclip import Unclip, UnclipConfig
    from unstir.settings import UnclipSettings
    from unstir.text.clip_tokenizer import tokenizer_of

    return Paradigm("unclip", "an unCLIP model", Unclip, UnclipConfig, UnclipSettings, tokenizer_of)


def _cascade() -> Paradigm:
    from unstir.models.cascade import Cascade, CascadeConfig
    from unstir.settings import CascadeSettings
    from unstir.text.pretrained_tokenizer import any_tokenizer_of

    return Paradigm("cascade", "a cascade", Cascade, CascadeConfig, CascadeSettings, any_tokenizer_of)


def _classifier() -> Paradigm:
    from unstir.models.word_classifier import WordClassifier, WordClassifierConfig

    return Paradigm("classifier", "a word classifier", WordClassifier, WordClassifierConfig, None, None)


def _pixelcnn() -> Paradigm:
    from unstir.models.pixelcnn import PixelCnn, PixelCnnConfig
    from unstir.settings import PixelSettings

    return Paradigm("pixelcnn", "a PixelCNN", PixelCnn, PixelCnnConfig, PixelSettings, likelihood="exact")


def _pixelrnn() -> Paradigm:
    from unstir.models.pixelrnn import PixelRnn, PixelRnnConfig
    from unstir.settings import PixelSettings

    return Paradigm("pixelrnn", "a PixelRNN", PixelRnn, PixelRnnConfig, PixelSettings, likelihood="exact")


BUILT_IN: dict[str, Callable[[], Paradigm]] = {
    "diffusion": _diffusion,
    "previous-step": _previous_step,
    "latent": _latent,
    "unclip": _unclip,
    "cascade": _cascade,
    "vae": _vae,
    "vqvae": _vqvae,
    "maskgit": _maskgit,
    "pixelcnn": _pixelcnn,
    "pixelrnn": _pixelrnn,
    "autoencoder": _autoencoder,
    "clip": _clip,
    "classifier": _classifier,
}
"""Each is imported at its first use."""

_known: dict[str, Paradigm] = {}


def register(record: Paradigm) -> None:
    """Add a kind of model. ValueError where the name is taken by another."""
    if record.name in BUILT_IN or _known.get(record.name, record) != record:
        raise ValueError(f"there is a kind of model {record.name!r} already")
    _known[record.name] = record


def names() -> tuple[str, ...]:
    """The names of all kinds of model."""
    return tuple(dict.fromkeys([*BUILT_IN, *_known]))


def paradigm(name: str) -> Paradigm:
    """The record of this name. ValueError where there is none."""
    if name not in _known:
        if name not in BUILT_IN:
            raise ValueError(f"there is no kind of model {name!r}; there are: {', '.join(names())}")
        _known[name] = BUILT_IN[name]()
    return _known[name]


def paradigm_of(model: nn.Module) -> Paradigm:
    """The record of a model's kind. ValueError where there is none."""
    return _first(lambda record: type(model) is record.model, f"a {type(model).__name__}")


def paradigm_of_config(config: object) -> Paradigm:
    """The record of the kind of model that a configuration is for. ValueError where there is none."""
    return _first(lambda record: type(config) is record.config, f"a {type(config).__name__}")


def _first(fits: Callable[[Paradigm], bool], what: str) -> Paradigm:
    # Records in use come first, so that no other is imported needlessly.
    for name in dict.fromkeys([*_known, *BUILT_IN]):
        if fits(paradigm(name)):
            return paradigm(name)
    raise ValueError(f"{what} is of no kind in the table of paradigms")
