"""Discrete likelihoods sum to one; divergences are those of torch; bounds hold where the true likelihood is known."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from unstir.diffusion.chain import gaussian_kl
from unstir.models.likelihood import (
    discretised_logistic,
    discretised_logistic_mixture,
    gaussian_log_density,
    importance_weighted,
)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -2.0), (0.9, -5.0), (-3.0, 0.5), (0.1, -7.0), (1.5, -7.0)])
def test_the_levels_sum_to_one(levels, mean, log_scale):
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)
    total = discretised_logistic(x, torch.tensor(mean, dtype=torch.float64), torch.tensor(log_scale).double(), levels)
    assert total.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_gradients_are_finite_far_away():
    x = torch.linspace(-1, 1, 256)
    mean, log_scale = torch.full((256,), 5.0, requires_grad=True), torch.full((256,), -7.0, requires_grad=True)
    value = discretised_logistic(x, mean, log_scale)
    value.sum().backward()
    assert value.isfinite().all()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()


def test_a_mixture_sums_to_one_and_of_one_component_is_that():
    generator = torch.Generator().manual_seed(0)
    logits, means, scales = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    x = torch.linspace(-1, 1, 17, dtype=torch.float64)[:, None].expand(-1, 3)
    each = means[:, None], scales[:, None]
    total = discretised_logistic_mixture(x[..., None], logits, each[0], each[1] - 2, 17).exp().sum(0)
    assert torch.allclose(total, torch.ones(3, dtype=torch.float64))
    one = discretised_logistic_mixture(x[..., None], logits[:, :1], each[0][..., :1], each[1][..., :1], 17)
    assert torch.allclose(one, discretised_logistic(x, means[:, 0], scales[:, 0], 17))
    # For many levels it is the density times the width of a level.
    fine = discretised_logistic_mixture(x[8:9, :, None], logits, *each, 100_001)
    base = torch.distributions.TransformedDistribution(
        torch.distributions.Uniform(torch.zeros(3, 5).double(), 1),
        [
            torch.distributions.SigmoidTransform().inv,
            torch.distributions.AffineTransform(means, scales.exp()),
        ],
    )
    density = MixtureSameFamily(Categorical(logits=logits), base).log_prob(x[8])
    assert torch.allclose(fine[0], density + math.log(2 / 100_000), atol=1e-4)


def test_gaussians_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    a, b, c, d, x = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(5))
    q, p = Normal(a, (0.5 * b).exp()), Normal(c, (0.5 * d).exp())
    assert torch.allclose(gaussian_kl(a, (0.5 * b).exp(), c, (0.5 * d).exp()), kl_divergence(q, p))
    assert torch.allclose(gaussian_log_density(x, a, b), q.log_prob(x))


class LinearVae:
    """p(z) = N(0, 1), p(x|z) = N(W z + m, s²): probabilistic PCA, whose likelihood and posterior are known."""

    def __init__(self, dims=6, latents=2, noise=0.3):
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(dims, latents, generator=generator, dtype=torch.float64)
        self.mean = torch.randn(dims, generator=generator, dtype=torch.float64)
        self.variance = noise**2
        inner = self.weight.T @ self.weight + self.variance * torch.eye(latents, dtype=torch.float64)
        self.posterior_cov = self.variance * torch.linalg.inv(inner)
        self.to_latent = torch.linalg.inv(inner) @ self.weight.T

    def log_p(self, x):
        cov = self.weight @ self.weight.T + self.variance * torch.eye(len(self.mean), dtype=torch.float64)
        return MultivariateNormal(self.mean, cov).log_prob(x)

    def log_weights(self, x, samples, logvar, shift=0.0, seed=0):
        """log p(x, z) - log q(z | x) for a diagonal posterior of this logvar, its mean shifted."""
        mean = (x - self.mean) @ self.to_latent.T + shift
        generator = torch.Generator().manual_seed(seed)
        eps = torch.randn(samples, *mean.shape, generator=generator, dtype=torch.float64)
        z = mean + (0.5 * logvar).exp() * eps
        log_joint = gaussian_log_density(x, z @ self.weight.T + self.mean, torch.tensor(math.log(self.variance)))
        prior = gaussian_log_density(z, torch.zeros(()), torch.zeros(()))
        return log_joint.sum(-1) + prior.sum(-1) - gaussian_log_density(z, mean, logvar).sum(-1)


def test_bounds_lie_below_the_likelihood_and_tighten():
    vae = LinearVae()
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    exact = vae.log_p(x).mean()
    logvar = torch.diagonal(vae.posterior_cov).log()
    bounds = []
    for k in (1, 4, 16, 64):
        weights = vae.log_weights(x, 64, logvar, shift=0.1).view(64 // k, k, 40)
        bounds.append(torch.stack([importance_weighted(part) for part in weights]).mean().item())
    assert bounds == sorted(bounds)
    assert bounds[-1] <= exact + 0.05
    assert bounds[0] < exact - 0.005


def test_with_the_true_posterior_the_bound_is_the_likelihood():
    """The optimum of a linear VAE is probabilistic PCA: with columns at right angles the posterior is diagonal."""
    vae = LinearVae()
    q, _ = torch.linalg.qr(vae.weight)
    vae.weight = q * torch.tensor([2.0, 1.0], dtype=torch.float64)
    inner = vae.weight.T @ vae.weight + vae.variance * torch.eye(2, dtype=torch.float64)
    vae.posterior_cov, vae.to_latent = vae.variance * torch.linalg.inv(inner), torch.linalg.inv(inner) @ vae.weight.T
    x = torch.randn(10, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = vae.log_weights(x, 3, torch.diagonal(vae.posterior_cov).log())
    assert torch.allclose(weights, vae.log_p(x).expand(3, -1), atol=1e-9)  # every weight, with any z
