"""Scales and weights of a file that do not belong together are refused in a sentence."""

import pytest
import torch

from unstir.weights.int8 import SCALE_PREFIX, dequantize, quantize


@pytest.mark.parametrize("shape", [(96, 64), (32, 16, 3, 3)])
def test_matrices_and_kernels_come_back_in_their_shape(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stored = quantize({"weight": weight})
    scale = stored[SCALE_PREFIX + "weight"]
    back = dequantize(stored["weight"], scale)
    assert back.shape == weight.shape
    assert back.dtype == torch.float32
    largest = weight.flatten(1).abs().amax(1)
    assert ((back - weight).flatten(1).abs() <= 0.51 / 127 * largest[:, None]).all()


@pytest.mark.parametrize(
    ("weight", "scale"),
    [
        (torch.zeros((), dtype=torch.int8), torch.ones(())),  # used to come out with another shape
        (torch.zeros(4, dtype=torch.int8), torch.ones(4)),
        (torch.zeros(4, 3, dtype=torch.int8), torch.ones(3)),
        (torch.zeros(4, 3, dtype=torch.int8), torch.ones(4, 1)),
        (torch.zeros(4, 3), torch.ones(4)),
    ],
)
def test_what_does_not_go_together_is_refused(weight, scale):
    with pytest.raises(ValueError, match="do not go with"):
        dequantize(weight, scale)
