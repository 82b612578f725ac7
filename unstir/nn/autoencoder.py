"""The convolutional encoder and decoder of an autoencoder."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from unstir.nn.attention import attend
from unstir.nn.conv import Conv
from unstir.nn.init import init_zero

RESAMPLING = ("shuffle", "stride")


@dataclass(frozen=True)
class ConvNetConfig:
    """Sizes of an `Encoder` and its `Decoder`. A position of the latent stands for `factor`² pixels.

    channels: of a picture.
    latent: channels of the latent.
    patch: side of the squares of pixels that are folded into channels before the first convolution.
    widths: channels of each scale, fine to coarse.
    blocks: residual blocks of each scale in the encoder; the decoder has one more.
    attend: whether there is self-attention at the coarsest scale.
    resample: between the scales. "shuffle": pixels are folded into channels and unfolded; "stride": strided
        convolutions and nearest-neighbour upsampling, as in Stable Diffusion.
    Stable Diffusion's autoencoder is ConvNetConfig(3, 4, 1, (128, 256, 512, 512), 2, True, "stride").
    ValueError for sizes that make no sense.
    """

    channels: int = 3
    latent: int = 4
    patch: int = 2
    widths: tuple[int, ...] = (64, 128)
    blocks: int = 2
    attend: bool = False
    resample: str = "shuffle"

    def __post_init__(self) -> None:
        if self.resample not in RESAMPLING:
            raise ValueError(f"there is no resampling {self.resample!r}; there are: {', '.join(RESAMPLING)}")
        if min(self.channels, self.latent, self.patch, self.blocks, *self.widths) < 1 or not self.widths:
            raise ValueError("channels, latent, patch, blocks and widths must be 1 or more")

    @property
    def factor(self) -> int:
        """Pixels along the side of a position of the latent."""
        return self.patch * int(2 ** (len(self.widths) - 1))


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, max(1, width // 4)), width, eps=1e-6)


class ConvResidual(nn.Module):
    """norm, silu, conv, norm, silu, conv, and a skip connection. The last convolution starts at zero.

    inside, width: channels of the input and of the output.
    Source: Esser et al. 2021 (VQGAN), appendix.
    """

    hidden_matrices = True

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(inside)
        self.conv1 = Conv(inside, width, 3)
        self.norm2 = _group_norm(width)
        self.conv2 = Conv(width, width, 3)
        init_zero(self.conv2)
        self.skip = Conv(inside, width, 1) if inside != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inside, h, w).  Returns (B, width, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(h)))
        return out


class SpatialAttention(nn.Module):
    """Self-attention of one head over all positions, on a skip connection.

    width: channels.
    Source: Esser et al. 2021 (VQGAN), appendix.
    """

    hidden_matrices = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _group_norm(width)
        self.qkv = Conv(width, 3 * width, 1)
        self.out = Conv(width, width, 1)
        init_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, width, h, w).  Returns as x."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = attend(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.out(mixed)
        return out


class FoldDown(nn.Module):
    """Half the side: 2×2 positions become one with four times the channels, then a 1×1 convolution."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.conv = Conv(4 * inside, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pixel_unshuffle(x, 2))
        return out


class UnfoldUp(nn.Module):
    """Twice the side: a 1×1 convolution to four times the channels, which become 2×2 positions."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.conv = Conv(inside, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class StridedDown(nn.Module):
    """Half the side by a 3×3 convolution of stride 2, padded at the right and the bottom."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.conv = Conv(inside, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.conv.kernel, self.conv.bias, stride=2)


class NearestUp(nn.Module):
    """Twice the side by nearest-neighbour upsampling, then a 3×3 convolution."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.conv = Conv(inside, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Encoder(nn.Module):
    """Pictures -> features at the scale of the latent.

    outside: channels of the result.
    """

    def __init__(self, config: ConvNetConfig, outside: int) -> None:
        super().__init__()
        self.config = config
        self.inward = Conv(config.channels * config.patch**2, config.widths[0], 3)
        self.scales, self.down = nn.ModuleList(), nn.ModuleList()
        inside = config.widths[0]
        for i, width in enumerate(config.widths):
            self.scales.append(_blocks(inside, width, config.blocks))
            inside = width
            if i + 1 < len(config.widths):
                # A strided convolution keeps the channels; the next block changes them. Folding changes them itself.
                strided = config.resample == "stride"
                inside = width if strided else config.widths[i + 1]
                self.down.append(StridedDown(width, inside) if strided else FoldDown(width, inside))
        self.middle = _middle(inside, config.attend)
        self.norm = _group_norm(inside)
        self.out = Conv(inside, outside, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), sides multiples of `factor`.  Returns (B, outside, H/factor, W/factor)."""
        x = self.inward(F.pixel_unshuffle(x.to(self.inward.weight.dtype), self.config.patch))
        for i, scale in enumerate(self.scales):
            x = scale(x)
            if i < len(self.down):
                x = self.down[i](x)
        out: Tensor = self.out(F.silu(self.norm(self.middle(x))))
        return out


class Decoder(nn.Module):
    """Latents -> pictures.

    inside: channels of the latent.
    outside: values of a pixel; None: `config.channels`.
    """

    def __init__(self, config: ConvNetConfig, inside: int, outside: int | None = None) -> None:
        super().__init__()
        self.config = config
        channels = config.channels if outside is None else outside
        width = config.widths[-1]
        self.inward = Conv(inside, width, 3)
        self.middle = _middle(width, config.attend)
        self.scales, self.up = nn.ModuleList(), nn.ModuleList()
        before = width
        for i in reversed(range(len(config.widths))):
            width = config.widths[i]
            self.scales.append(_blocks(before, width, config.blocks + 1))
            before = width
            if i:
                strided = config.resample == "stride"
                before = width if strided else config.widths[i - 1]
                self.up.append(NearestUp(width, before) if strided else UnfoldUp(width, before))
        self.norm = _group_norm(before)
        self.out = Conv(before, channels * config.patch**2, 3)

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the last convolution."""
        return self.out.weight

    def forward(self, z: Tensor) -> Tensor:
        """z: (B, inside, h, w).  Returns (B, outside, h·factor, w·factor)."""
        x = self.middle(self.inward(z.to(self.inward.weight.dtype)))
        for i, scale in enumerate(self.scales):
            x = scale(x)
            if i < len(self.up):
                x = self.up[i](x)
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.config.patch)


def _blocks(inside: int, width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ConvResidual(inside if i == 0 else width, width) for i in range(count)))


def _middle(width: int, attend: bool) -> nn.Sequential:
    def layers() -> Iterator[nn.Module]:
        yield ConvResidual(width, width)
        if attend:
            yield SpatialAttention(width)
            yield ConvResidual(width, width)

    return nn.Sequential(*layers())


class PatchCritic(nn.Module):
    """A convolutional critic that scores every patch of a picture. Source: Isola et al. 2017, section 3.2.2.

    channels: of a picture.
    width: of the first convolution; it doubles at every scale.
    depth: number of scales; a score sees about 2^(depth+2) pixels of side.
    """

    def __init__(self, channels: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(channels, width, 3), nn.LeakyReLU(0.2)]
        for i in range(depth):
            inside, outside = width * 2**i, width * 2 ** (i + 1)
            layers += [FoldDown(inside, outside), _group_norm(outside), nn.LeakyReLU(0.2)]
            layers += [Conv(outside, outside, 3), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.out = Conv(width * 2**depth, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W).  Returns the scores, (B, 1, H/2^depth, W/2^depth)."""
        out: Tensor = self.out(self.layers(x.to(self.out.weight.dtype)))
        return out


def spatial_size(side: int, factor: int) -> int:
    """Positions along a side. ValueError where the factor does not divide it."""
    if side % factor:
        raise ValueError(f"the side {side} is not a multiple of {factor}, the pixels of a position of the latent")
    return side // factor
