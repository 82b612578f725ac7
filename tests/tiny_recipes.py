"""A recipe of every kind of model, so small that a run takes seconds; for 16 pictures of 8 pixels."""

from unstir.models.autoencoder import AutoencoderConfig, KlConfig
from unstir.models.autoencoder_loss import AutoencoderLossConfig
from unstir.models.cascade import CascadeConfig
from unstir.models.clip import ClipConfig
from unstir.models.code_model import CodeModelConfig, MaskedCodeModelConfig
from unstir.models.diffusion import DiffusionConfig
from unstir.models.embedding_prior import PriorConfig
from unstir.models.latent_diffusion import LatentConfig
from unstir.models.pixelcnn import PixelCnnConfig
from unstir.models.pixelrnn import PixelRnnConfig
from unstir.models.previous_step import PreviousStepConfig
from unstir.models.quantise import CodebookConfig, FsqConfig
from unstir.models.unclip import UnclipConfig
from unstir.models.vae_ladder import VaeConfig
from unstir.models.word_classifier import WordClassifierConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.code_transformer import CodeTransformerConfig
from unstir.nn.embedding_condition import EmbeddingConfig
from unstir.nn.frozen_text import FrozenTextConfig
from unstir.nn.text import TextConfig
from unstir.nn.unet import UNetConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import CascadeSettings, DiffusionSettings, MaskedCodeSettings, UnclipSettings
from unstir.train.autoencoder_training import options
from unstir.train.config import PartConfig, TrainConfig
from unstir.train.recipe import Recipe

PROMPTS = ("a red disc", "a blue box")
TEXT = TextConfig(290, length=12, width=32, depth=1, heads=2)
CLIP = ClipConfig(
    VisionConfig(8, 3, patch=4, width=32, depth=1, heads=2, mlp=64),
    ClipTextConfig(290, length=12, width=32, depth=1, heads=2, mlp=64),
    width=16,
)


def _train(**changes):
    values = {
        "images": 96,
        "batch_size": 8,
        "warmup": 16,
        "log_every": 16,
        "sample_every": 48,
        "save_every": 16,
        "validation": 4,
        "best": "least validation",
    }
    return TrainConfig(**(values | changes))


def _unet(side, channels):
    return UNetConfig(
        side, channels, patch=1, widths=(16, 32), blocks=(1, 1), attend=(False, True), words=32, vector=32
    )


def _autoencoder(bottleneck=KlConfig(), critic=0.0):  # noqa: B008 - frozen
    parts = (PartConfig("critic", optimiser="adamw", adamw_lr=2e-4, betas=(0.5, 0.9), ema=0.0),) if critic else ()
    return Recipe(
        model=AutoencoderConfig(8, ConvNetConfig(3, 2, patch=2, widths=(16,), blocks=1), bottleneck),
        train=_train(parts=parts, caption_dropout=0.0),
        options=options(AutoencoderLossConfig(critic=critic, critic_from=32)),
    )


def _clip():
    return Recipe(model=CLIP, train=_train(caption_dropout=0.0, best="most image-to-text R@1"))


def diffusion():
    return Recipe(
        model=DiffusionConfig(_unet(8, 3), TEXT),
        train=_train(),
        prompts=PROMPTS,
        settings=DiffusionSettings(steps=2),
    )


def previous_step():
    return Recipe(model=PreviousStepConfig(_unet(8, 3), TEXT, steps=3), train=_train(), prompts=PROMPTS)


def autoencoder():
    return _autoencoder(critic=0.5)


def latent():
    first = _autoencoder()
    return Recipe(
        model=LatentConfig(network=_unet(4, 2), text=TEXT, autoencoder=first.model),
        train=_train(),
        prompts=PROMPTS,
        settings=DiffusionSettings(steps=2),
        stages={"autoencoder": first},
    )


def vae():
    return Recipe(
        model=VaeConfig(8, 3, TEXT, (4, 1), (1, 1), width=16, latent=2),
        train=_train(optimiser="adamw", precision="fp32"),
        prompts=PROMPTS,
    )


def vqvae():
    first = _autoencoder(FsqConfig((3, 2)))
    return Recipe(
        model=CodeModelConfig(CodeTransformerConfig(4, 6, 32, 1, 2, 32, dropout=0.1), TEXT, first.model),
        train=_train(),
        prompts=PROMPTS,
        stages={"autoencoder": first},
    )


def maskgit():
    first = _autoencoder(CodebookConfig(codes=12, channels=3))
    return Recipe(
        model=MaskedCodeModelConfig(CodeTransformerConfig(4, 12, 32, 1, 2, 32), TEXT, first.model),
        train=_train(),
        prompts=PROMPTS,
        settings=MaskedCodeSettings(steps=3),
        stages={"autoencoder": first},
    )


def pixelcnn():
    return Recipe(
        model=PixelCnnConfig(8, 3, TEXT, components=2, dropout=0.2, width=16, scales=2, blocks=1),
        train=_train(),
        prompts=PROMPTS,
    )


def pixelrnn():
    return Recipe(
        model=PixelRnnConfig(8, 3, TEXT, components=2, dropout=0.2, hidden=16, layers=1),
        train=_train(),
        prompts=PROMPTS,
    )


def unclip():
    return Recipe(
        model=UnclipConfig(network=_unet(8, 3), text=EmbeddingConfig(16, 2, 32), clip=CLIP, prior=PriorConfig(32, 1)),
        train=_train(parts=(PartConfig("prior", optimiser="adamw"),)),
        prompts=PROMPTS,
        settings=UnclipSettings(steps=2, prior_steps=2),
        stages={"clip": _clip()},
    )


def cascade():
    return Recipe(
        model=CascadeConfig((_unet(4, 3), _unet(8, 6)), FrozenTextConfig(32, 32), CLIP),
        train=_train(),
        prompts=PROMPTS,
        settings=CascadeSettings(steps=2, enlarging_steps=2),
        stages={"clip": _clip()},
    )


def classifier():
    return Recipe(
        model=WordClassifierConfig(
            8, ConvNetConfig(3, 8, patch=1, widths=(16,), blocks=1), ("red", "blue", "disc", "box")
        ),
        train=_train(caption_dropout=0.0),
    )


RECIPES = {
    "classifier": classifier,
    "diffusion": diffusion,
    "previous-step": previous_step,
    "autoencoder": autoencoder,
    "latent": latent,
    "vae": vae,
    "vqvae": vqvae,
    "maskgit": maskgit,
    "pixelcnn": pixelcnn,
    "pixelrnn": pixelrnn,
    "unclip": unclip,
    "cascade": cascade,
}
