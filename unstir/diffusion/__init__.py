"""Diffusion. Read schedule, prediction, denoiser, grid, sampler, guidance and noise, in this order.

schedule            how a picture becomes noise: x_t = alpha(t)·x0 + sigma(t)·eps
prediction          what a network may predict, and how that becomes the clean picture
denoiser            a network, or a formula, as a function (xt, t, cond) -> x0
time_distribution   at which times a network is trained
grid                at which times a sampler evaluates it
sampler             from noise to a picture: what all samplers are made of
samplers/           one a file; each yields its steps
guidance            wrappers of a denoiser: classifier-free guidance, clipping, inpainting
gradient_guidance   a wrapper that follows a gradient, for example that of CLIP
noise, philox       random numbers as functions of their arguments
chain               the forward process as a Markov chain, and the likelihood bound
score_sde           the same as a stochastic differential equation
ode, runge_kutta    the probability flow: to the noise and back, and the exact likelihood
"""
