"""A model and a CLIP of random weights, small enough to be evaluated in a second."""

import pytest
import torch

from unstir.data.shapes import shape_pictures
from unstir.evaluate.run.generation import batch_drawer
from unstir.evaluate.run.inputs import EvaluatedModel
from unstir.evaluate.run.real_pictures import joined_sets
from unstir.models.clip import Clip, ClipConfig
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.nn.vision import VisionConfig
from unstir.settings import DiffusionSettings
from unstir.text.tokenizer import Tokenizer


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sampling():
    return DiffusionSettings(steps=2, guidance_scale=2.0)


def scramble(model, seed, scale=0.2):
    """Give every parameter random values, none of them zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def real():
    """Shapes of 32 × 32 pixels, 100 seen and 100 held out."""
    return joined_sets("shapes", shape_pictures(100, 32, 1), shape_pictures(100, 32, 2, held_out=True))


@pytest.fixture(scope="session")
def tokenizer(real):
    return Tokenizer.train((ways[0] for ways in real.pictures.captions), 300)


@pytest.fixture(scope="session")
def model(tokenizer):
    network = DiTConfig(32, 3, patch=8, width=32, depth=1, heads=2, bottleneck=8, words=32)
    text = TextConfig(len(tokenizer), length=32, width=32, depth=1, heads=2)
    return scramble(Diffusion(DiffusionConfig(network, text), tokenizer), 0)


@pytest.fixture(scope="session")
def clip(tokenizer):
    """Reads pictures of 16 × 16 pixels with transparency."""
    vision = VisionConfig(size=16, channels=4, patch=8, width=32, depth=1, heads=2, mlp=32)
    text = ClipTextConfig(vocabulary=len(tokenizer), length=32, width=32, depth=1, heads=2, mlp=32)
    clip = Clip(ClipConfig(vision, text, width=16), tokenizer)
    initialise(clip, 0)
    return clip.requires_grad_(False).eval()


@pytest.fixture
def subject(model, sampling):
    return EvaluatedModel("tiny", batch_drawer(model, sampling), {"model_hash": "0", "steps": 2})
