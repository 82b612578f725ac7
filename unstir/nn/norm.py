"""Root-mean-square normalisation that keeps the dtype of its input."""

from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm with its gain cast to the input's dtype: under autocast the fused kernel needs equal dtypes.

    width: of the last dimension.
    gain: whether there is a learned factor for each channel.
    """

    def __init__(self, width: int, gain: bool = True) -> None:
        super().__init__(width, eps=1e-6, elementwise_affine=gain)

    def forward(self, x: Tensor) -> Tensor:
        gain: Tensor | None = self.weight
        return F.rms_norm(x, self.normalized_shape, None if gain is None else gain.to(x.dtype), self.eps)
