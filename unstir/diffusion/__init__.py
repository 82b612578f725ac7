"""Diffusion: read schedule, prediction, denoiser, sampler, guidance and noise, in this order.

A picture becomes noise along x_t = alpha(t)·x0 + sigma(t)·eps (schedule). A network learns the way back; whatever
it predicts is turned into the finished picture (prediction, denoiser). Samplers walk from noise to a picture and
yield every step (sampler, grid); guidance wraps the denoiser; noise is a function of its arguments. The forward
process as a Markov chain, with its likelihood bound, is in chain.
"""
