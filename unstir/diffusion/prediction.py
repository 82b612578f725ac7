"""What a network may predict, and the one table that converts each prediction into every other.

Each is affine in the clean picture: x0 = a·xt + b·out, where a and b are functions of alpha and sigma. Solved for x0 it
decodes the network's output, solved for out it gives the training target, and 1/b² is the weight of the squared error
of x0 when the loss is measured in that prediction.
"""

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion.schedule import NoiseSchedule

PREDICTIONS = ("x0", "eps", "v", "velocity", "edm")


@dataclass(frozen=True)
class Prediction:
    """What the network's output means.

    name: one of PREDICTIONS.
        x0        the clean picture
        eps       the noise in xt                                      Ho et al. 2020
        v         alpha·eps - sigma·x0                                 Salimans and Ho 2022, section 4
        velocity  eps - x0, the derivative of xt by t under `Flow`     Lipman et al. 2023
        edm       F, of unit variance at every noise level             Karras et al. 2022, eq. 7 and table 1
    sigma_data: standard deviation of the data; only `edm` uses it.
    Raises ValueError when built with another name or a sigma_data that is not positive.
    """

    name: str = "x0"
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in PREDICTIONS:
            raise ValueError(f"there is no prediction {self.name!r}; there are: {', '.join(PREDICTIONS)}")
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {self.sigma_data}")

    def line(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """a and b of x0 = a·xt + b·out, for alpha and sigma of any one shape."""
        match self.name:
            case "x0":
                return 0.0, 1.0
            case "eps":
                return 1 / alpha, -sigma / alpha
            case "v":
                scale = alpha.square() + sigma.square()
                return alpha / scale, -sigma / scale
            case "velocity":
                return 1 / (alpha + sigma), -sigma / (alpha + sigma)
            case "edm":
                # Karras 2022, table 1, with x/alpha and sigma/alpha put in and alpha cancelled.
                variance = sigma.square() + alpha.square() * self.sigma_data**2
                return self.sigma_data**2 * alpha / variance, self.sigma_data * sigma / variance.sqrt()
        raise AssertionError(self.name)

    def to_x0(self, out: Tensor, xt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean picture that the network's output `out` means.

        out, xt: (B, *).
        alpha, sigma: broadcastable to them.
        Returns (B, *).
        """
        a, b = self.line(alpha, sigma)
        return a * xt + b * out

    def from_x0(self, x0: Tensor, xt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The output that means the clean picture x0: the training target.

        x0, xt: (B, *).
        alpha, sigma: broadcastable to them; sigma > 0 unless the prediction is x0.
        Returns (B, *).
        """
        a, b = self.line(alpha, sigma)
        return (x0 - a * xt) / b

    def check(self, schedule: NoiseSchedule) -> None:
        """Raise ValueError if the picture cannot be computed from this prediction at t = 1."""
        if self.name == "eps" and schedule.alpha_at_noise == 0:
            raise ValueError(
                f"eps cannot be predicted on {type(schedule).__name__}: there xt = eps at t = 1, "
                "which does not determine the picture; predict x0, v or velocity, or take the linear-beta schedule"
            )


def eps_of(x0: Tensor, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """The noise in xt if the picture is x0; sigma > 0."""
    return (xt - alpha * x0) / sigma


def score(x0: Tensor, xt: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """The gradient of log p(xt), from the mean picture x0 = E[x0 | xt].

    x0, xt: (B, *).
    alpha, sigma: broadcastable to them; sigma > 0.
    Returns (B, *).
    Source: Tweedie's formula; Vincent 2011; Song et al. 2021.
    """
    return (alpha * x0 - xt) / sigma**2
