"""Networks. They know nothing of diffusion: tensors in, tensors out."""
