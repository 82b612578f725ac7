"""CLIP: its vectors, its losses against plain formulas in double precision, and one batch on several processes."""

import math
from dataclasses import replace

import pytest
import torch
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn import functional as F

from unstir.errors import UserError
from unstir.models.clip import LARGEST_SCALE, Clip, ClipBatch, ClipConfig
from unstir.models.contrastive_loss import sigmoid_loss, softmax_loss
from unstir.models.description import build, describe
from unstir.models.diffusion import Diffusion, DiffusionConfig
from unstir.models.process_group import ProcessGroup, all_gather_rows, process_group
from unstir.nn.clip_text import ClipTextConfig
from unstir.nn.dit import DiTConfig
from unstir.nn.init import initialise
from unstir.nn.text import TextConfig
from unstir.nn.vision import VisionConfig
from unstir.text.tokenizer import Tokenizer, TooLong
from unstir.weights.model_file import load_clip, load_model, save_model

TEXTS = ["a red circle", "a blue square", "ein grüner Kreis", "circle", "red", "blue", "a", "square circle"]
TOKENIZER = Tokenizer.train(TEXTS, 280)
CONFIG = ClipConfig(
    VisionConfig(size=16, channels=4, patch=4, width=32, depth=2, heads=2, mlp=64),
    ClipTextConfig(vocabulary=len(TOKENIZER), length=16, width=32, depth=2, heads=2, mlp=64),
    width=24,
)


def clip_of(**changes):
    model = Clip(replace(CONFIG, **changes), TOKENIZER)
    initialise(model, 0)
    return model


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(model, count=8, same=None):
    x0 = torch.rand(count, *model.shape, generator=rng(1)) * 2 - 1
    same = torch.eye(count, dtype=torch.bool) if same is None else same
    return ClipBatch(x0, model.tokenize(TEXTS[:count]), same)


def loss_of(model, batch, seed=0):
    ((name, loss),) = model.losses(batch, rng(seed))
    assert name == "main"
    return loss


# Vectors


def test_vectors_have_length_one():
    model = clip_of()
    batch = batch_of(model)
    for vectors in (model.embed_pictures(batch.x0), model.embed_ids(batch.ids), model.embed_words(TEXTS)):
        assert vectors.shape == (8, 24)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(8))
    assert model.shape == (4, 16, 16)
    assert model.device == torch.device("cpu")
    assert model.parts() == {"main": model}


def test_words_do_not_depend_on_their_neighbours():
    model = clip_of()
    together = model.embed_words(TEXTS)
    assert torch.equal(model.embed_words(TEXTS[3:4]), together[3:4])
    torch.testing.assert_close(model.embed_ids(model.tokenize(TEXTS)), together, rtol=1e-4, atol=1e-5)
    with pytest.raises(TooLong):
        model.embed_words(["circle " * 40])


def test_similarity_is_the_cosine():
    model = clip_of()
    x0 = batch_of(model, 3).x0
    cosines = model.similarity(TEXTS[:5], x0)
    assert cosines.shape == (5, 3)
    expected = torch.cosine_similarity(model.embed_words(TEXTS[4:5]), model.embed_pictures(x0[2:]))
    torch.testing.assert_close(cosines[4, 2], expected[0])


# Losses


@pytest.mark.parametrize(
    ("changes", "scale", "bias"),
    [
        ({}, 1 / 0.07, None),
        ({"loss": "sigmoid"}, 10, -10),
        ({"scale": 3.0}, 3, None),
        ({"loss": "sigmoid", "scale": 5.0, "bias": -2.0}, 5, -2),
    ],
)
def test_the_scale_and_bias_start_as_designed(changes, scale, bias):
    model = clip_of(**changes)
    assert model.scale.item() == pytest.approx(scale)
    assert hasattr(model, "bias") == (bias is not None)
    assert bias is None or model.bias.item() == bias


def test_configurations_that_make_no_sense():
    for changes in ({"loss": "hinge"}, {"bias": -1.0}, {"scale": 0.0}):
        with pytest.raises(ValueError, match=r"loss|scale"):
            replace(CONFIG, **changes)


def vectors(count=6, seed=0):
    both = torch.randn(2, count, 5, generator=rng(seed), dtype=torch.float64)
    return both / both.norm(dim=-1, keepdim=True)


def some_same(count=6):
    same = torch.eye(count, dtype=torch.bool)
    same[0, 3] = same[4, 2] = same[2, 4] = True
    return same


def plain_softmax(captions, pictures, same, scale):
    """Eq. by eq., number by number."""
    n, total = len(captions), 0.0
    for i in range(n):
        own = math.exp(scale * captions[i] @ pictures[i])
        rivals = [math.exp(scale * captions[i] @ pictures[j]) for j in range(n) if j != i and not same[i, j]]
        total -= math.log(own / (own + sum(rivals))) / (2 * n)
        rivals = [math.exp(scale * captions[j] @ pictures[i]) for j in range(n) if j != i and not same[j, i]]
        total -= math.log(own / (own + sum(rivals))) / (2 * n)
    return total


def plain_sigmoid(captions, pictures, same, scale, bias):
    n, total = len(captions), 0.0
    for i in range(n):
        for j in range(n):
            if i == j or not same[i, j]:
                z = (1 if i == j else -1) * (scale * (captions[i] @ pictures[j]).item() + bias)
                total += math.log1p(math.exp(-z)) / n
    return total


@pytest.mark.parametrize("same", [torch.eye(6, dtype=torch.bool), some_same()], ids=["own only", "also true"])
def test_losses_against_their_formulas(same):
    captions, pictures = vectors()
    scale, bias = torch.tensor(7.0, dtype=torch.float64), torch.tensor(-1.5, dtype=torch.float64)
    softmax = softmax_loss(captions, pictures, same, scale).item()
    assert softmax == pytest.approx(plain_softmax(captions, pictures, same, 7.0), rel=1e-10)
    sigmoid = sigmoid_loss(captions, pictures, same, scale, bias).item()
    assert sigmoid == pytest.approx(plain_sigmoid(captions, pictures, same, 7.0, -1.5), rel=1e-10)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_model_computes_these_losses(loss):
    model = clip_of(loss=loss)
    batch = batch_of(model, 6, some_same())
    captions, pictures = (v.detach().double() for v in (model.embed_ids(batch.ids), model.embed_pictures(batch.x0)))
    if loss == "softmax":
        expected = plain_softmax(captions, pictures, batch.same, 1 / 0.07)
    else:
        expected = plain_sigmoid(captions, pictures, batch.same, 10.0, -10.0)
    assert loss_of(model, batch).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_caption_that_is_also_true_is_no_negative(loss):
    """Caption 0 also fits picture 1: neither loss depends on their cosine, in either direction."""
    captions = torch.eye(6)  # so that the cosine of caption i and picture j is pictures[j, i], to differentiate by
    pictures = F.normalize(torch.randn(6, 6, generator=rng()), dim=1).requires_grad_()
    same = torch.eye(6, dtype=torch.bool)

    def pull():
        if loss == "softmax":
            value = softmax_loss(captions, pictures, same, torch.tensor(5.0))
        else:
            value = sigmoid_loss(captions, pictures, same, torch.tensor(5.0), torch.tensor(-1.0))
        return torch.autograd.grad(value, pictures)[0].T

    apart = ~torch.eye(6, dtype=torch.bool)
    before = pull()
    assert (before[apart] > 0).all()
    assert (before.diagonal() < 0).all()
    same[0, 1] = True
    after = pull()
    assert after[0, 1] == 0
    assert after[1, 0] > 0  # caption 1 is still wrong for picture 0
    assert (after[apart] > 0).sum() == 29


def test_when_every_caption_is_true_of_every_picture_there_is_nothing_to_learn():
    captions, pictures = vectors()
    captions.requires_grad_()
    loss = softmax_loss(captions, pictures, torch.ones(6, 6, dtype=torch.bool), torch.tensor(5.0))
    loss.backward()
    assert loss.item() == 0
    assert (captions.grad == 0).all()


def test_every_weight_gets_a_gradient():
    for loss in ("softmax", "sigmoid"):
        model = clip_of(loss=loss)
        loss_of(model, batch_of(model)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_the_scale_stays_in_range_and_can_come_back():
    model = clip_of()
    with torch.no_grad():
        model.log_scale.fill_(6.0)
    assert model.scale.item() == pytest.approx(LARGEST_SCALE)
    loss_of(model, batch_of(model)).backward()
    assert model.log_scale.item() == pytest.approx(math.log(LARGEST_SCALE))
    # Pictures and words that do not fit yet: less certainty would be better, and the gradient says so.
    assert model.log_scale.grad.item() > 0


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_it_memorises_eight_pairs(loss, pool):
    model = clip_of(loss=loss, vision=replace(CONFIG.vision, pool=pool))
    batch = batch_of(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimiser.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimiser.step()
    # Knowing nothing costs ln 8 = 2.1 by the softmax, 3.0 by the sigmoid.
    assert loss.item() < 0.3
    assert model.similarity(TEXTS, batch.x0).argmax(1).tolist() == list(range(8))


def test_bfloat16_keeps_the_loss():
    model = clip_of()
    batch = batch_of(model)
    exact = loss_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = loss_of(model, batch)
    assert near.dtype == torch.float32
    assert near.item() == pytest.approx(exact.item(), rel=0.05)


def test_the_encoders_compile_in_one_piece():
    model = clip_of()
    batch = batch_of(model)
    whole = torch.compile(model.embedded, backend="eager", fullgraph=True)
    for got, expected in zip(whole(batch.x0, batch.ids), model.embedded(batch.x0, batch.ids), strict=True):
        torch.testing.assert_close(got, expected)


# Augmentation


def test_augmentation_is_a_function_of_the_rng_and_for_training_only():
    model = clip_of(augment=True)
    batch = batch_of(model)
    one, again, other = (loss_of(model, batch, seed).item() for seed in (1, 1, 2))
    assert one == again != other
    plain = clip_of()
    assert loss_of(model.eval(), batch).item() == loss_of(plain, batch).item()


# Several processes


def test_processes_share_rows_equally():
    assert process_group() == ProcessGroup(0, 1)
    assert ProcessGroup(1, 4).rows(12) == slice(3, 6)
    with pytest.raises(ValueError, match="equally"):
        ProcessGroup(0, 2).rows(7)
    x = torch.ones(2, 3)
    assert all_gather_rows(x) is x


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def one_of_two(rank, folder):
    """What each process does: its half of the batch, then the mean of the gradients; against the whole alone."""
    torch.set_num_threads(1)
    cases = {}
    for loss in ("softmax", "sigmoid"):
        model = clip_of(loss=loss, augment=True)
        batch = batch_of(model, 6, some_same())
        value = loss_of(model, batch, 5)
        value.backward()
        cases[loss] = (value.item(), gradients(model))
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        for loss, (alone, expected) in cases.items():
            model = clip_of(loss=loss, augment=True)
            whole = batch_of(model, 6, some_same())
            mine = slice(3 * rank, 3 * rank + 3)
            value = loss_of(model, ClipBatch(whole.x0[mine], whole.ids[mine], whole.same), 5)
            value.backward()
            value = value.detach()
            distributed.all_reduce(value)
            assert abs(value.item() / 2 - alone) < 1e-5
            for name, parameter in model.named_parameters():
                distributed.all_reduce(parameter.grad)
                torch.testing.assert_close(parameter.grad / 2, expected[name], rtol=1e-4, atol=1e-5, msg=name)
    finally:
        distributed.destroy_process_group()


def test_two_processes_train_as_one(tmp_path):
    spawn(one_of_two, (str(tmp_path),), nprocs=2)


# Files


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_description_and_file_give_the_model_back(loss, tmp_path):
    vision = replace(CONFIG.vision, mean=(0.5,) * 4, std=(0.25,) * 4)
    model = clip_of(loss=loss, vision=vision).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    assert build(describe(model)).config == model.config
    path = tmp_path / "clip.safetensors"
    save_model(path, model, notes={"name": "tést"})
    copy = load_clip(path)
    assert copy.config == model.config
    assert not copy.training
    x0 = batch_of(model).x0
    assert torch.equal(copy.similarity(TEXTS, x0), model.similarity(TEXTS, x0))
    assert copy.scale.item() == model.scale.item()


def test_the_wrong_kind_of_model_is_refused_in_a_sentence(tmp_path):
    text = TextConfig(vocabulary=len(TOKENIZER), length=8, width=16, depth=1, heads=2)
    network = DiTConfig(size=8, channels=3, patch=4, width=16, depth=1, heads=2, bottleneck=8, words=16)
    drawing = Diffusion(DiffusionConfig(network, text), TOKENIZER)
    initialise(drawing, 0)
    save_model(tmp_path / "draws.safetensors", drawing)
    save_model(tmp_path / "compares.safetensors", clip_of())
    with pytest.raises(
        UserError, match=r"compares\.safetensors cannot be used here: it is a CLIP, which does not draw"
    ):
        load_model(tmp_path / "compares.safetensors")
    with pytest.raises(UserError, match="it is a diffusion model, and a CLIP is needed"):
        load_clip(tmp_path / "draws.safetensors")
    assert isinstance(build(describe(clip_of())), Clip)
    with pytest.raises(ValueError, match="there are: diffusion, previous-step"):
        build({"kind": "tea", "config": {}, "tokenizer": ""})
