"""An autoencoder of icons, 64 pixels to 16×16 latents of 4 channels; an hour of two cores.

DATA: the shards of the recipe icons; the same drawings are held out.
Measure a trained one: python -m experiments.icons_autoencoder SHARDS runs/icons-autoencoder
"""

from unstir.models.autoencoder import AutoencoderConfig
from unstir.models.autoencoder_loss import AutoencoderLossConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.recipes.icons import trained_on
from unstir.train.autoencoder_training import options
from unstir.train.config import TrainConfig
from unstir.train.recipe import Recipe


def icons_autoencoder() -> Recipe:
    """1.0 M parameters; 301,000 pictures, eleven passes."""
    return Recipe(
        model=AutoencoderConfig(64, ConvNetConfig(4, 4, patch=2, widths=(48, 96), blocks=1)),
        train=TrainConfig(
            images=300_992,
            batch_size=32,
            muon_lr=0.01,
            adamw_lr=1e-3,
            caption_dropout=0.0,
            warmup=6_400,
            cooldown=0.3,
            log_every=9_984,
            sample_every=99_968,
            save_every=29_984,
        ),
        keep=trained_on,
        options=options(AutoencoderLossConfig()),
    )
