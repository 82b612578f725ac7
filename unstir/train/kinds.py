"""The training half of the table of paradigms: how each kind of model is trained.

A kind without an entry is trained by the defaults of `Training`: batches from `model.batch`, validation by the mean of
its losses on held-out pictures, and a grid of drawn pictures as preview.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unstir.data.pictures import Pictures
from unstir.models.paradigms import names as model_kinds
from unstir.scenes.source import SceneSource
from unstir.settings import Settings
from unstir.text.tokenizer import Tokenizer
from unstir.train.batches import BatchSource, picture_batches, split
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe

SizeName = Literal["s", "m", "l"]


@dataclass(frozen=True)
class Preview:
    """The input of the preview that a run writes at every evaluation.

    prompts: of the sample grid; picture i has seed i.
    settings: to draw with.
    pictures: held-out pictures, or where there are none the first ones.
    """

    prompts: Sequence[str]
    settings: Settings | None
    pictures: Pictures


def _trained_on(model: Any, pictures: Pictures, config: TrainConfig, source: SceneSource | None) -> BatchSource:
    if source is not None:
        raise ValueError("only a diffusion model can be trained on composed scenes")
    return picture_batches(model, pictures, config)


def _mean_losses(model: Any, held: Pictures, batch_size: int) -> dict[str, float]:
    from unstir.train.validation import mean_losses

    return mean_losses(model, held, batch_size)


def _sample_grid(model: Any, preview: Preview) -> NDArray[np.uint8]:
    from unstir.train.samples import sample_grid

    return sample_grid(model, preview)


def _built(description: Mapping[str, Any], options: Mapping[str, Any], folder: Path, device: str) -> Any:  # noqa: ARG001
    from unstir.models.description import build

    return build(description)


def _no_recipe(pictures: Pictures, size: SizeName) -> Recipe:  # noqa: ARG001
    raise ValueError("this kind of model is trained by recipe only; name one with --recipe")


def _any_size(size: SizeName | None, budget: float, on_gpu: bool) -> SizeName:  # noqa: ARG001
    return size or "s"


@dataclass(frozen=True)
class Aid:
    """A model that may be given to a run, and that no stage trains.

    load: (path, device) -> the model. UserError where there is none at the path.
    instead_of: the stage that is not needed with it; "": none.
    stage: the stage that gets it; "": the run itself.
    """

    load: Callable[[Path, str], Any]
    instead_of: str = ""
    stage: str = ""


@dataclass(frozen=True)
class Training:
    """How one kind of model is trained. The defaults suit a model that draws.

    batches: (model, pictures, config, source) -> the source of batches.
    validate: (model, held-out pictures, batch size) -> validation metrics by name.
    metrics: (model, batch) -> train metrics for each log line, used by `diagnose`.
    preview: (model, Preview) -> a picture, written at every evaluation.
    begin: (description, options, run folder, device) -> the model to train, before its weights are initialised.
    own_weights: whether `begin` initialises the weights itself.
    recipe: (pictures, size) -> an automatic recipe, without its number of pictures.
    choose_size: (size or None, budget in seconds, on a GPU) -> the size to train.
    expectation: whether to say what a run of this length usually gives.
    stages: the models that this kind is built on: the kind of each, by the name of the stage.
    aids: further models that may be given.
    with_stages: (recipe, models of the stages and aids) -> the recipe with its configuration fitted to these models.
    adopt: (model, models) -> None; takes over their weights.
    keep: (run folder, models) -> None; writes what training needs of them.
    tokenizer: (models) -> the tokenizer of the model; None: one is trained on the captions.
    prepare: (model, pictures, progress) -> None; computes what the batches need, with progress(done, total).
    """

    batches: Callable[[Any, Pictures, TrainConfig, SceneSource | None], BatchSource] = _trained_on
    validate: Callable[[Any, Pictures, int], dict[str, float]] = _mean_losses
    metrics: Callable[[Any, Any], dict[str, float]] = lambda _model, _batch: {}
    preview: Callable[[Any, Preview], NDArray[np.uint8]] = _sample_grid
    begin: Callable[[Mapping[str, Any], Mapping[str, Any], Path, str], Any] = _built
    own_weights: bool = False
    recipe: Callable[[Pictures, SizeName], Recipe] = _no_recipe
    choose_size: Callable[[SizeName | None, float, bool], SizeName] = _any_size
    expectation: bool = True
    stages: Mapping[str, str] = field(default_factory=dict)
    aids: Mapping[str, Aid] = field(default_factory=dict)
    with_stages: Callable[[Recipe, Mapping[str, Any]], Recipe] = lambda recipe, _models: recipe
    adopt: Callable[[Any, Mapping[str, Any]], None] = lambda _model, _models: None
    keep: Callable[[Path, Mapping[str, Any]], None] = lambda _folder, _models: None
    tokenizer: Callable[[Mapping[str, Any]], Tokenizer] | None = None
    prepare: Callable[[Any, Pictures, Callable[[int, int], None]], None] | None = None


def _diffusion() -> Training:
    from unstir.train import auto_recipe, train_metrics, validation
    from unstir.train.diffusion_batches import diffusion_batches

    return Training(
        batches=diffusion_batches,
        validate=validation.diffusion_losses,
        metrics=train_metrics.of_diffusion,
        recipe=auto_recipe.recipe_for,
        choose_size=auto_recipe.choose_size,
    )


def _previous_step() -> Training:
    from unstir.train import auto_paradigm_recipe, auto_recipe
    from unstir.train.diffusion_batches import diffusion_batches

    return Training(
        batches=diffusion_batches,
        recipe=auto_paradigm_recipe.previous_step_recipe,
        choose_size=auto_recipe.choose_size,
        expectation=False,
    )


def _consistency() -> Training:
    from unstir.train import distillation
    from unstir.train.diffusion_batches import diffusion_batches

    return Training(
        batches=lambda model, pictures, config, source: diffusion_batches(model.student, pictures, config, source),
        validate=lambda _model, _held, _batch_size: {},
        preview=lambda model, preview: _sample_grid(model.student, preview),
        begin=distillation.begin,
        own_weights=True,
    )


def _clip() -> Training:
    from unstir.train import auto_clip_recipe, clip_batches, samples, train_metrics, validation

    return Training(
        batches=lambda model, pictures, config, _source: clip_batches.clip_batches(pictures, model, config),
        validate=validation.retrieval,
        metrics=train_metrics.of_clip,
        preview=samples.nearest_captions,
        recipe=auto_clip_recipe.clip_recipe_for,
        choose_size=auto_clip_recipe.choose_clip_size,
        expectation=False,
    )


def _some_clip(path: Path, device: str) -> Any:
    """A CLIP of unstir, transformers or open_clip."""
    from unstir.interop.clip import load_any_clip

    return load_any_clip(path, device).model


def _some_text_encoder(path: Path, device: str) -> Any:
    from unstir.interop.pretrained_text import load_text_encoder

    return load_text_encoder(path, device)


FOR_THE_AUTOENCODER = Aid(_some_clip, stage="autoencoder")
"""A CLIP, for the perceptual distance of the stage that trains an autoencoder."""


def _autoencoder() -> Training:
    from unstir.train import auto_latent_recipe, autoencoder_training

    return Training(
        aids={"clip": Aid(_some_clip)},
        with_stages=autoencoder_training.with_perceptual,
        keep=autoencoder_training.keep_perceptual,
        validate=autoencoder_training.reconstruction,
        preview=autoencoder_training.pairs,
        begin=autoencoder_training.begin_autoencoder,
        recipe=auto_latent_recipe.autoencoder_recipe,
        expectation=False,
    )


def _adopt(stage: str) -> Callable[[Any, Mapping[str, Any]], None]:
    """A model that takes over the weights of one stage by `adopt`."""

    def adopt(model: Any, models: Mapping[str, Any]) -> None:
        model.adopt(models[stage])

    return adopt


def _tokenizer_of_stage(models: Mapping[str, Any]) -> Tokenizer:
    """Of the CLIP, or the text encoder given instead."""
    (model,) = models.values()
    tokenizer: Tokenizer = model.tokenizer
    return tokenizer


def _latent() -> Training:
    from unstir.train import auto_latent_recipe, latent_batches, train_metrics, validation

    return Training(
        batches=lambda model, pictures, config, _source: latent_batches.latent_batches(model, pictures, config),
        validate=validation.diffusion_losses,
        metrics=train_metrics.of_diffusion,
        recipe=auto_latent_recipe.latent_recipe,
        choose_size=auto_latent_recipe.choose_latent_size,
        expectation=False,
        stages={"autoencoder": "autoencoder"},
        aids={"clip": FOR_THE_AUTOENCODER},
        with_stages=auto_latent_recipe.with_autoencoder,
        adopt=_adopt("autoencoder"),
        prepare=lambda model, pictures, progress: latent_batches.prepare(model.codec, pictures, progress),
    )


def _vae() -> Training:
    from unstir.train import auto_paradigm_recipe

    return Training(recipe=auto_paradigm_recipe.vae_recipe, expectation=False)


def _code_model(masked: bool) -> Training:
    from unstir.train import auto_latent_recipe, auto_paradigm_recipe, latent_batches

    return Training(
        batches=lambda model, pictures, config, _source: latent_batches.code_batches(model, pictures, config),
        recipe=auto_paradigm_recipe.maskgit_recipe if masked else auto_paradigm_recipe.vqvae_recipe,
        choose_size=auto_latent_recipe.choose_latent_size,
        expectation=False,
        stages={"autoencoder": "autoencoder"},
        aids={"clip": FOR_THE_AUTOENCODER},
        with_stages=auto_latent_recipe.with_autoencoder,
        adopt=_adopt("autoencoder"),
        prepare=lambda model, pictures, progress: latent_batches.prepare_codes(model.codec, pictures, progress),
    )


def _pixelcnn() -> Training:
    from unstir.train import auto_pixel_recipe

    return Training(recipe=auto_pixel_recipe.pixelcnn_recipe, expectation=False)


def _pixelrnn() -> Training:
    from unstir.train import auto_pixel_recipe

    return Training(recipe=auto_pixel_recipe.pixelrnn_recipe, expectation=False)


def _unclip() -> Training:
    from unstir.train import auto_paradigm_recipe, train_metrics, unclip_training, validation

    return Training(
        validate=validation.diffusion_losses,
        metrics=train_metrics.of_diffusion,
        recipe=auto_paradigm_recipe.unclip_recipe,
        expectation=False,
        stages={"clip": "clip"},
        with_stages=auto_paradigm_recipe.with_clip,
        adopt=_adopt("clip"),
        tokenizer=_tokenizer_of_stage,
        prepare=unclip_training.fit_prior,
    )


def _cascade() -> Training:
    from unstir.train import auto_paradigm_recipe

    return Training(
        recipe=auto_paradigm_recipe.cascade_recipe,
        expectation=False,
        stages={"clip": "clip"},
        aids={"text-encoder": Aid(_some_text_encoder, instead_of="clip")},
        with_stages=auto_paradigm_recipe.with_encoder,
        adopt=lambda model, models: model.adopt(*models.values()),
        tokenizer=_tokenizer_of_stage,
    )


def _classifier() -> Training:
    from unstir.train import auto_classifier_recipe

    return Training(
        recipe=auto_classifier_recipe.classifier_recipe,
        preview=auto_classifier_recipe.words_sheet,
        expectation=False,
    )


BUILT_IN: dict[str, Callable[[], Training]] = {
    "diffusion": _diffusion,
    "previous-step": _previous_step,
    "consistency": _consistency,
    "clip": _clip,
    "autoencoder": _autoencoder,
    "latent": _latent,
    "vae": _vae,
    "vqvae": partial(_code_model, masked=False),
    "maskgit": partial(_code_model, masked=True),
    "pixelcnn": _pixelcnn,
    "pixelrnn": _pixelrnn,
    "unclip": _unclip,
    "cascade": _cascade,
    "classifier": _classifier,
}
"""Each is imported when it is first asked for."""

_known: dict[str, Training] = {}


def register(kind: str, record: Training) -> None:
    """Add how a kind of model from outside the package is trained. ValueError where the kind is built in."""
    if kind in BUILT_IN:
        raise ValueError(f"the training of {kind!r} is built in and cannot be replaced")
    _known[kind] = record


def training(kind: str) -> Training:
    """How a kind is trained. ValueError where there is no such kind."""
    if kind not in _known:
        if kind in BUILT_IN:
            _known[kind] = BUILT_IN[kind]()
        elif kind in model_kinds():
            return Training()
        else:
            raise ValueError(f"there is no kind of model {kind!r}; there are: {', '.join(model_kinds())}")
    return _known[kind]


def held_out_pictures(pictures: Pictures, config: TrainConfig) -> Pictures:
    """The pictures that are held back for validation under this configuration."""
    return pictures.take(split(pictures, config)[1])
