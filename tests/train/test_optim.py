"""Which parameters Muon takes, and that an optimiser continues from its state to the bit."""

import pytest
import torch

from unstir.nn.init import hidden_matrices
from unstir.train.config import TrainConfig
from unstir.train.optim import Optimiser


def with_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def quantities(optimiser):
    found = {}
    for path in optimiser.state():
        name, _, key = path.rpartition("/")
        found.setdefault(name, set()).add(key)
    return found


def test_muon_takes_the_matrices_inside_blocks_and_nothing_else(tiny, tmp_path):
    run = tiny(tmp_path)
    optimiser = run.optimisers["main"]
    with_gradients(run.model, 0)
    optimiser.step(1.0)
    kinds = quantities(optimiser)
    parameters = dict(run.model.named_parameters())
    assert kinds.keys() == parameters.keys()  # every parameter is taken, once
    muon = {name for name, keys in kinds.items() if keys == {"momentum_buffer"}}
    assert {name for name, keys in kinds.items() if keys == {"step", "exp_avg", "exp_avg_sq"}} == kinds.keys() - muon
    inside = {name for name, p in parameters.items() if ".blocks." in name and p.ndim == 2 and "table" not in name}
    # The two layers of the level embedding lie between hidden widths as well, and say so.
    assert muon == inside | {"network.level.up.weight", "network.level.down.weight"}
    assert any(name.startswith("text.") for name in muon)
    for outside in ("network.out.weight", "network.embed.weight", "network.squeeze.weight", "text.embed.weight"):
        assert outside in kinds.keys() - muon


def test_adamw_alone_takes_everything(tiny, tmp_path):
    run = tiny(tmp_path, optimiser="adamw")
    with_gradients(run.model, 0)
    run.optimisers["main"].step(1.0)
    assert all(keys == {"step", "exp_avg", "exp_avg_sq"} for keys in quantities(run.optimisers["main"]).values())


class Layers(torch.nn.Module):
    hidden_matrices = True

    def __init__(self):
        super().__init__()
        self.mlp = torch.nn.Linear(32, 64)
        self.square = torch.nn.Linear(16, 16, bias=False)
        self.conv = torch.nn.Conv2d(16, 16, 3)
        self.gate = torch.nn.Linear(64, 8)  # no matrix between hidden widths: 8 is a head count
        self.table = torch.nn.Parameter(torch.zeros(64, 64))


def test_a_network_names_its_hidden_matrices():
    """By the classes of its layers, whatever their attributes are called."""
    network = torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(300, 32), "any": torch.nn.Sequential(Layers(), Layers())}
    )
    network["downward"] = torch.nn.Linear(32, 32)
    assert sorted(hidden_matrices(network)) == [
        "any.0.mlp.weight",
        "any.0.square.weight",
        "any.1.mlp.weight",
        "any.1.square.weight",
    ]
    assert sorted(hidden_matrices(network["any"][0])) == ["mlp.weight", "square.weight"]


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_load_continues_to_the_bit(tiny, tmp_path, kind):
    run, other = tiny(tmp_path / "a", optimiser=kind), tiny(tmp_path / "b", optimiser=kind)
    first = run.optimisers["main"]
    for seed in range(3):
        with_gradients(run.model, seed)
        first.step(0.5)
    other.model.load_state_dict(run.model.state_dict())
    second, fresh = other.optimisers["main"], tiny(tmp_path / "c", optimiser=kind)
    fresh.model.load_state_dict(run.model.state_dict())
    second.load(first.state())
    for model, optimiser in ((run.model, first), (other.model, second), (fresh.model, fresh.optimisers["main"])):
        for seed in range(3, 6):
            with_gradients(model, seed)
            optimiser.step(0.7)
    same = [torch.equal(a, b) for a, b in zip(run.model.parameters(), other.model.parameters(), strict=True)]
    assert all(same)
    state, loaded = first.state(), second.state()
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[name], loaded[name]) for name in state)
    # A fresh optimiser goes elsewhere, so the state is what made it continue.
    assert not all(torch.equal(a, b) for a, b in zip(run.model.parameters(), fresh.model.parameters(), strict=True))


def test_load_copies(tiny, tmp_path):
    """What was loaded must not change under the feet of whoever holds it."""
    run, other = tiny(tmp_path / "a"), tiny(tmp_path / "b")
    with_gradients(run.model, 0)
    run.optimisers["main"].step(1.0)
    state = {name: value.clone() for name, value in run.optimisers["main"].state().items()}
    other.optimisers["main"].load(state)
    before = {name: value.clone() for name, value in state.items()}
    with_gradients(other.model, 1)
    other.optimisers["main"].step(1.0)
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_step_scales_the_rate():
    model = torch.nn.Linear(4, 4)
    config = TrainConfig(images=1, optimiser="adamw", adamw_lr=0.1)
    optimiser = Optimiser(model, config.part("main"))
    before = model.weight.detach().clone()
    with_gradients(model, 0)
    optimiser.step(0.25)
    # The first AdamW step moves every weight by the learning rate (Kingma and Ba 2015, section 2.1).
    assert torch.allclose((model.weight - before).abs(), torch.tensor(0.025), rtol=1e-4)
