"""Search, classification and text directions, on vectors whose results are known."""

import pytest
import torch

from unstir.models.clip import Clip, ClipConfig
from unstir.models.pixels import to_model
from unstir.models.zero_shot import apply_direction, class_embeddings, embed_batches, label_probabilities, nearest
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer

E = torch.eye(4)
TEXTS = ["a red circle", "a blue square", "circle", "red"]
TOKENIZER = Tokenizer.train(TEXTS, 280)


def clip_of(loss="softmax"):
    vision = VisionConfig(16, 4, patch=4, width=32, depth=1, heads=2, mlp=64)
    text = ClipTextConfig(len(TOKENIZER), length=48, width=32, depth=1, heads=2, mlp=64)
    model = Clip(ClipConfig(vision, text, width=24, loss=loss), TOKENIZER)
    initialise(model, 0)
    return model


def test_nearest_first_and_ties_in_order():
    vectors = torch.stack([E[1], E[0], (E[0] + E[1]) / 2**0.5, E[0], E[3]])
    found = nearest(E[:2], vectors, 3)
    assert found.rows.tolist() == [[1, 3, 2], [0, 2, 1]]
    assert found.cosines[0].tolist() == pytest.approx([1, 1, 0.5**0.5])
    assert nearest(E[:1], vectors, 99).rows.shape == (1, 5)


def test_a_step_in_a_direction():
    there = apply_direction(E[:1], E[1:2], E[2:3])
    expected = (E[0] - E[1] + E[2]) / 3**0.5
    torch.testing.assert_close(there, expected[None])
    far = apply_direction(E[:1], E[1:2], E[2:3], 100.0)
    assert far[0, 2] > 0.7 > far[0, 0]
    torch.testing.assert_close(apply_direction(E[:1], E[1:2], E[1:2]), E[:1])


def test_class_vectors_are_means_over_templates():
    model = clip_of()
    classes = class_embeddings(model, ["circle", "square"], ["a {}", "{} red, {}"])
    both = model.embed_words(["a square", "square red, square"]).mean(0)
    torch.testing.assert_close(classes[1], both / both.norm())
    torch.testing.assert_close(class_embeddings(model, TEXTS), model.embed_words(TEXTS))
    for templates in ([], ["a picture"], ["{}", "{ }"]):
        with pytest.raises(ValueError, match="where the label goes"):
            class_embeddings(model, ["circle"], templates)


def test_a_template_is_not_a_format():
    """Nothing but {} means anything in it."""
    model = clip_of()
    classes = class_embeddings(model, ["red"], ["{} {0} {label!r}"])
    torch.testing.assert_close(classes, model.embed_words(["red {0} {label!r}"]))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_certainty_is_what_the_loss_says(loss):
    model = clip_of(loss)
    cosines = torch.tensor([[0.9, 0.5, -0.2], [0.1, 0.1, 0.1]])
    sure = label_probabilities(model, cosines)
    if loss == "softmax":
        torch.testing.assert_close(sure, (cosines / 0.07).softmax(1))
    else:
        torch.testing.assert_close(sure, 1 / (1 + (10 - 10 * cosines).exp()))


def test_pictures_in_batches():
    model = clip_of()
    pixels = torch.randint(0, 256, (5, 16, 16, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    vectors = embed_batches(model, pixels.split(2))
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors, model.embed_pictures(to_model(pixels)).detach(), rtol=1e-4, atol=1e-5)
    assert embed_batches(model, []).shape == (0, 24)
