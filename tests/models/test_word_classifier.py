"""The word classifier: words of captions, probabilities, and that it learns."""

import torch

from unstir.models.word_classifier import WordClassifier, WordClassifierConfig
from unstir.nn.autoencoder import ConvNetConfig
from unstir.nn.init import initialise

CONFIG = WordClassifierConfig(8, ConvNetConfig(3, 16, patch=1, widths=(16, 16), blocks=1), ("red", "blue", "box"))


def classifier():
    model = WordClassifier(CONFIG)
    initialise(model, 0)
    return model


def test_words_of_captions():
    model = classifier()
    assert model.presence(["a red box", "Blue!", ""]).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    p = logits.sigmoid()[0]
    wanted = torch.stack([p[0] * (1 - p[1]) * p[2], (1 - p[0]) * p[1] * (1 - p[2])]).log()
    torch.testing.assert_close(model.log_probability(logits, ["a red box", "blue"])[0], wanted)


def test_it_learns_colours():
    model = classifier().train()
    rng = torch.Generator().manual_seed(0)
    pixels = torch.zeros(16, 8, 8, 3, dtype=torch.uint8)
    pixels[::2, ..., 0], pixels[1::2, ..., 2] = 200, 200
    captions = ["red", "blue"] * 8
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    batch = model.batch(pixels, captions)
    losses = []
    for _ in range(30):
        (name, loss), *rest = model.losses(batch, rng)
        assert (name, rest) == ("main", [])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    model.eval()
    found = model.log_probability(model.logits(batch.x0), ["red", "blue"]).argmax(1)
    assert found.tolist() == [0, 1] * 8
