"""PixelCNN++: an autoregressive model of pixels by shifted convolutions."""

from dataclasses import dataclass

from unstir.models.pixel_model import PixelModel, PixelModelConfig
from unstir.nn.gated_block import GatedBlock
from unstir.nn.pixelcnn import PixelCnnNetwork
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class PixelCnnConfig(PixelModelConfig):
    """The architecture.

    width: of the feature maps.
    scales: each has half the side of the one before; 1 is enough for small pictures.
    blocks: of each stream and scale, on the way in and again on the way out.
    ValueError for a size that the scales do not divide.
    """

    width: int = 64
    scales: int = 1
    blocks: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scales < 1 or self.size % 2 ** (self.scales - 1):
            raise ValueError(f"{self.scales} scales do not divide pictures of {self.size} pixels")


class PixelCnn(PixelModel):
    """PixelCNN++ with a text in every gate. Source: Salimans et al. 2017; van den Oord et al. 2016b for the gates."""

    config: PixelCnnConfig

    def __init__(self, config: PixelCnnConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.network = PixelCnnNetwork(
            config.size, config.modelled, config.outside, config.width, config.scales, config.blocks, config.text.width
        )

    def compile_loss(self) -> None:
        """Compile each kind of block with torch."""
        for module in self.modules():
            if isinstance(module, GatedBlock):
                module.compile(dynamic=False)
