"""Networks. They know nothing of diffusion: they take tensors and a number or two, and return tensors."""
