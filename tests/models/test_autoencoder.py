"""The autoencoder: its posterior, standardised latents, tiles, one picture at a time, and Stable Diffusion's."""

import diffusers
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unstir.models.autoencoder import Autoencoder, AutoencoderConfig, KlConfig, Posterior
from unstir.models.autoencoder_loss import AutoencoderLossConfig, AutoencoderTrainer
from unstir.models.perceptual import Perceptual
from unstir.models.pixels import to_model
from unstir.models.quantise import CodebookConfig, FsqConfig
from unstir.models.tiles import tiled
from unstir.nn.autoencoder import ConvNetConfig
from unstir.nn.init import initialise
from unstir.nn.vision import VisionConfig, VisionTransformer

SMALL = ConvNetConfig(channels=4, latent=3, patch=2, widths=(16, 24), blocks=1)
BOTTLENECKS = [KlConfig(), KlConfig(mix=True), FsqConfig((5, 4, 3)), CodebookConfig(codes=20, channels=5)]


def model_of(bottleneck=KlConfig(), network=SMALL, size=16, **rest):  # noqa: B008 - frozen
    model = Autoencoder(AutoencoderConfig(size, network, bottleneck, **rest))
    initialise(model, 0)
    return model.eval()


def pixels(count=3, size=16, channels=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, channels), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=lambda b: type(b).__name__)
def test_a_codec(bottleneck):
    model = model_of(bottleneck)
    latent = model.encode(pixels())
    assert latent.shape == (3, *model.latent_shape((4, 16, 16))) == (3, *model.config.latent_shape)
    made = model.decode(latent)
    assert made.shape == (3, 16, 16, 4)
    assert made.dtype.name == "uint8"
    for row in range(3):  # whatever else is in the batch
        alone = model.encode(pixels()[row : row + 1])
        assert torch.equal(alone[0], latent[row])
        assert (model.decode(alone)[0] == made[row]).all()
    assert model.encode(pixels(size=32)).shape[-1] == 2 * latent.shape[-1]
    with pytest.raises(ValueError, match="not a multiple of 4"):
        model.latent_shape((4, 18, 18))


def test_the_divergence_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    mean, logvar = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    wanted = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(Posterior(mean, logvar).kl(), wanted)
    eps = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    assert torch.allclose(Posterior(mean, logvar).sample(eps), mean + (0.5 * logvar).exp() * eps)


def test_standardised_latents_come_back():
    model = model_of()
    model.latent_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    model.latent_std.copy_(torch.tensor([3.0, 0.1, 1.0]))
    z = torch.randn(2, 3, 4, 4)
    assert torch.allclose(model.restored(model.standardised(z)), z, atol=1e-5)
    x = pixels()
    mean, std = model.standardised_posterior(x)
    assert torch.equal(mean, model.encode(x))
    posterior = model.posterior(2 * torch.zeros(1, 4, 16, 16) - 1)
    assert std.shape == mean.shape
    assert posterior.mean.shape == (1, 3, 4, 4)


def test_a_great_weight_of_the_divergence_leaves_the_prior():
    model = model_of(KlConfig(weight=1e4, offset=0.0))
    trainer = AutoencoderTrainer(model, AutoencoderLossConfig(equivariance=0.0))
    trainer.train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    batch = trainer.batch(pixels(8), [])
    for step in range(150):
        (_, loss), *_ = trainer.losses(batch, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model.posterior(batch.x0).kl().max() < 0.05 * model.posterior(batch.x0).mean[0].numel()
    assert torch.allclose(model.latent_mean, torch.zeros(3), atol=0.1)
    assert torch.allclose(model.latent_std, torch.ones(3), atol=0.1)


def test_the_measured_deviation_makes_latents_standard():
    model = model_of()
    trainer = AutoencoderTrainer(model, AutoencoderLossConfig()).train()
    batch = trainer.batch(pixels(16, seed=3), [])
    for step in range(40):
        list(trainer.losses(batch, torch.Generator().manual_seed(step)))
    mean, std = model.standardised_posterior(pixels(16, seed=3))
    z = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    assert z.mean((0, 2, 3)).abs().max() < 0.05
    assert (z.std((0, 2, 3)) - 1).abs().max() < 0.05
    trainer.eval()
    before = model.latent_mean.clone()
    list(trainer.losses(batch, torch.Generator().manual_seed(0)))
    assert torch.equal(model.latent_mean, before)  # looking changes nothing


def test_parts_and_their_losses():
    trainer = AutoencoderTrainer(model_of(), AutoencoderLossConfig(critic=0.5))
    initialise(trainer, 0)
    found = dict(trainer.losses(trainer.batch(pixels(), []), torch.Generator().manual_seed(0)))
    assert set(found) == set(trainer.parts()) == {"main", "critic"}
    found["critic"].backward()
    assert all(p.grad is None for p in trainer.autoencoder.parameters())  # the critic's loss is the critic's alone
    assert trainer.exported() is trainer.autoencoder
    late = AutoencoderTrainer(model_of(), AutoencoderLossConfig(critic=0.5, critic_from=10**6))
    initialise(late.critic, 0)
    plain = AutoencoderTrainer(model_of(), AutoencoderLossConfig())
    first = dict(late.losses(late.batch(pixels(), []), torch.Generator().manual_seed(0)))["main"]
    assert torch.equal(first, dict(plain.losses(plain.batch(pixels(), []), torch.Generator().manual_seed(0)))["main"])


def test_the_perceptual_distance():
    vision = VisionTransformer(VisionConfig(size=8, channels=3, patch=4, width=32, depth=2, heads=2, mlp=64))
    initialise(vision, 0)
    distance = Perceptual(vision)
    x = torch.rand(2, 4, 16, 16) * 2 - 1
    assert distance(x, x) == 0
    other = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1).requires_grad_()
    value = distance(other, x)
    value.backward()
    assert value > 0
    assert other.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in distance.parameters())
    with pytest.raises(ValueError, match="needs an image encoder"):
        AutoencoderTrainer(model_of(), AutoencoderLossConfig(perceptual=1.0))


def test_eight_pictures_are_learned_with_any_bottleneck():
    x = torch.zeros(8, 16, 16, 4, dtype=torch.uint8)
    for i in range(8):
        x[i, 2 + i : 6 + i, 4:12, i % 3] = 255
        x[i, 2 + i : 6 + i, 4:12, 3] = 255
    for bottleneck in (KlConfig(), FsqConfig((5, 4, 3)), CodebookConfig(codes=32, channels=4)):
        model = model_of(bottleneck)
        trainer = AutoencoderTrainer(model, AutoencoderLossConfig()).train()
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        batch = trainer.batch(x, [])
        for step in range(200):
            (_, loss), *_ = trainer.losses(batch, torch.Generator().manual_seed(step))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        trainer.eval()
        made = torch.from_numpy(model.decode(model.encode(x)))
        real = to_model(x)
        error, of_mean = (to_model(made) - real).abs().mean(), (real.mean(0) - real).abs().mean()
        assert error < 0.7 * of_mean, bottleneck


def test_tiles_of_a_local_map_are_the_whole():
    x = torch.randn(1, 2, 40, 24, generator=torch.Generator().manual_seed(0))

    def local(part):
        padded = torch.nn.functional.pad(part, (1, 1, 1, 1), mode="replicate")
        return torch.nn.functional.avg_pool2d(padded, 3, stride=1)

    made = tiled(local, x, tile=16, overlap=8, ratio=1)
    assert made.shape == x.shape
    middle = (..., slice(4, -4), slice(4, -4))
    assert (made - local(x))[middle].abs().max() < 0.35  # only the seams' edges differ
    constant = torch.full((1, 1, 33, 17), 0.7)
    for ratio, change in ((2, lambda p: p.repeat_interleave(2, 2).repeat_interleave(2, 3)), (1, lambda p: p)):
        out = tiled(change, constant, tile=8, overlap=4, ratio=ratio)
        assert out.shape == (1, 1, 33 * ratio, 17 * ratio)
        assert torch.allclose(out, torch.tensor(0.7))
    with pytest.raises(ValueError, match="overlap"):
        tiled(local, x, tile=8, overlap=8, ratio=1)


def test_large_pictures_are_encoded_in_tiles():
    model = model_of(tile=16)
    x = pixels(1, 48)
    latent = model.encode(x)
    assert latent.shape == (1, 3, 12, 12)
    assert model.decode(latent).shape == (1, 48, 48, 4)


SD = ConvNetConfig(channels=3, latent=4, patch=1, widths=(32, 32, 32), blocks=2, attend=True, resample="stride")


def test_the_autoencoder_of_stable_diffusion_is_a_configuration():
    """Weights of a random AutoencoderKL of diffusers give the same posterior and pictures here."""
    from unstir.interop.autoencoder_kl import config_from, weights_from

    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.2,
    ).eval()
    with pytest.raises(ValueError, match="groups"):
        config_from({**theirs.config, "norm_num_groups": 16})
    config = config_from(theirs.config)
    assert config.network == SD
    model = Autoencoder(config).eval()
    model.load_state_dict(weights_from(theirs.state_dict(), theirs.config))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        wanted = theirs.encode(x).latent_dist
        found = model.posterior(x)
        assert torch.allclose(found.mean, wanted.mean, atol=2e-4)
        assert torch.allclose(found.logvar, wanted.logvar, atol=2e-4)
        z = torch.randn(2, 4, 8, 8)
        assert torch.allclose(model.pictures(z), theirs.decode(z).sample, atol=2e-4)
        assert torch.allclose(model.standardised(z), z * 0.2, atol=1e-6)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no resampling"):
        ConvNetConfig(resample="bilinear")
    with pytest.raises(ValueError, match="not a multiple"):
        AutoencoderConfig(18, SMALL)
    with pytest.raises(ValueError, match="threshold"):
        model_of().bounded(lambda xt, t, cond: xt, 0.9)
