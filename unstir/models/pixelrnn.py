"""PixelRNN: an autoregressive model of pixels by LSTMs in two dimensions."""

from dataclasses import dataclass

from unstir.models.pixel_model import PixelModel, PixelModelConfig
from unstir.nn.pixelrnn import LSTMS, PixelRnnNetwork
from unstir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class PixelRnnConfig(PixelModelConfig):
    """The architecture.

    lstm: "diagonal" (Diagonal BiLSTM, sees everything before a pixel) or "row" (Row LSTM, cheaper, sees a triangle).
    hidden: channels of a state; feature maps have twice as many.
    layers: of LSTMs.
    ValueError for an unknown LSTM.
    """

    lstm: str = "diagonal"
    hidden: int = 64
    layers: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lstm not in LSTMS:
            raise ValueError(f"there is no LSTM {self.lstm!r}; there are: {', '.join(LSTMS)}")


class PixelRnn(PixelModel):
    """PixelRNN with a text in every gate. Source: van den Oord et al. 2016 (PixelRNN)."""

    config: PixelRnnConfig

    def __init__(self, config: PixelRnnConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.network = PixelRnnNetwork(
            config.size,
            config.modelled,
            config.outside,
            config.lstm,
            config.hidden,
            config.layers,
            config.text.width,
        )

    def compile_loss(self) -> None:
        """Compile each layer with torch."""
        for module in self.network.layers:
            module.compile(dynamic=False)
