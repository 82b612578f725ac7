"""A model as the Python interface gives it, and the pictures that it draws."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unstir.errors import UserError
from unstir.request import Request, checked_seed, draw, open_model, request_of
from unstir.settings import EDIT_STRENGTH, VARIATION_STRENGTH, BadSetting

if TYPE_CHECKING:
    from unstir.clip_guidance import ClipScorer
    from unstir.models.generative import Frame
    from unstir.weights.model_file import Loaded

BATCH = 16
"""Pictures that are computed together with `batch=True`."""


class Picture(Image.Image):
    """A PIL image that carries the request it was made by, and writes it into the PNG when it is saved."""

    request: Request

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], request: Request) -> "Picture":
        """pixels: (H, W, 3 or 4) uint8, straight alpha."""
        image, picture = Image.fromarray(pixels), cls()
        # What Pillow's own _new does: another object around the same memory.
        picture.im, picture._mode, picture._size = image.im, image.mode, image.size
        picture.readonly = image.readonly
        picture.request = request
        return picture

    @property
    def seed(self) -> int:
        return self.request.seed

    def save(
        self,
        fp: str | bytes | PathLike[str] | PathLike[bytes] | IO[bytes],
        format: str | None = None,  # noqa: A002 - as PIL calls it
        **params: Any,
    ) -> None:
        """As PIL does; a path that ends in .png gets the request too, so that `unstir reproduce` can make it again."""
        if isinstance(fp, str | Path) and Path(fp).suffix.lower() == ".png" and format in (None, "PNG") and not params:
            from unstir.image.png import save_png

            save_png(Path(fp), np.array(self), self.request.values())
            return
        super().save(fp, format, **params)


class Model:
    """A model that draws.

    path: a model file or a run folder; None: the default model.
    device: cpu, cuda or auto.
    dtype: "float32", "bfloat16", or None: as suits the device.
    UserError where there is no such model.
    """

    def __init__(self, path: Path | None = None, device: str = "auto", dtype: str | None = None) -> None:
        self._loaded = open_model(path, device, dtype)
        self._few: Loaded[Any] | None = None
        self._dtype = dtype

    def __repr__(self) -> str:
        _, side, _ = self.shape
        return f"<unstir model {self.name!r}: {self._loaded.kind.name}, {side}×{side} pixels, {self.path}>"

    @property
    def name(self) -> str:
        return self._loaded.name

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._loaded.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of its pictures."""
        shape: tuple[int, int, int] = self._loaded.model.shape
        return shape

    @property
    def settings(self) -> Any:
        """What it draws with unless told otherwise: a frozen dataclass."""
        return self._loaded.settings

    @property
    def words(self) -> list[str]:
        """The words of its training captions, the most frequent first; [] where the file does not say."""
        return list(self._loaded.notes.get("words", []))

    @property
    def network(self) -> Any:
        """The torch module itself."""
        return self._loaded.model

    def draw(
        self,
        prompt: str | Sequence[str],
        n: int = 1,
        seed: int | None = None,
        *,
        batch: bool = False,
        clip_guidance: float = 0.0,
        clip: Path | str | None = None,
        **settings: Any,
    ) -> list[Picture]:
        """Pictures of a prompt, or of several.

        n: how many of each prompt; picture i of a prompt has seed + i.
        seed: a whole number; random by default.
        batch: compute many at once: several times faster, and their last bits then depend on which ones. Without it a
            picture is the very one that `unstir generate` draws.
        clip_guidance: how far a CLIP moves every predicted picture towards the prompt.  clip: which; None: the default.
        settings: of the model's kind, as `steps=8`; see `settings`.
        UserError for what cannot be.
        """
        if n < 1:
            raise UserError(f"n must be 1 or more, got {n}")
        seed = secrets.randbelow(2**31) if seed is None else checked_seed(seed)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        loaded, scorer = self._for(settings), self._scorer(clip_guidance, clip)
        requests = [
            replace(self._request(loaded, text, settings, scorer, clip_guidance), seed=seed + i)
            for text in prompts
            for i in range(n)
        ]
        size = BATCH if batch else 1
        pictures = []
        for start in range(0, len(requests), size):
            some = requests[start : start + size]
            *_, last = draw(loaded, some, scorer, exact=not batch)
            pictures += [Picture.of(pixels, request) for pixels, request in zip(last.picture, some, strict=True)]
        return pictures

    def steps(self, prompt: str, seed: int = 0, **settings: Any) -> "Iterator[Frame]":
        """Every step of one picture: `frame.picture` as predicted and `frame.state`, each (1, H, W, C) uint8."""
        loaded = self._for(settings)
        return draw(loaded, [self._request(loaded, prompt, settings, None, 0.0, checked_seed(seed))])

    def interpolate(
        self, a: Any, b: Any, frames: int = 9, *, seed: int = 0, prompt: str = "", **settings: Any
    ) -> list[Image.Image]:
        """The pictures between two prompts, two seeds (whole numbers) or two pictures (paths or PIL images).

        frames: how many, both ends among them.
        seed: of a path between prompts.  prompt: of a path between seeds.
        settings: as for `draw`.
        UserError for ends of different kinds, or where this kind of model has no such path.
        """
        from unstir.exploration import ends_from, path_between

        loaded = self._for(settings)
        chosen = self._request(loaded, prompt, settings, None, 0.0, checked_seed(seed)).settings
        ends = ends_from(a, b, self.shape)
        return [Image.fromarray(one) for one in path_between(loaded.model, ends, frames, seed, prompt, chosen)]

    def vary(
        self,
        picture: Any,
        n: int = 4,
        seed: int | None = None,
        *,
        strength: float = VARIATION_STRENGTH,
        prompt: str = "",
        **settings: Any,
    ) -> list[Image.Image]:
        """Variations of a picture, a path or a PIL image.

        strength: 0 to 1, how far they may be from it.
        prompt: what they are to show; "": what the picture shows.
        UserError where this kind of model draws none.
        """
        from unstir.exploration import picture_from, variations

        loaded, first = self._for(settings), secrets.randbelow(2**31) if seed is None else checked_seed(seed)
        chosen = self._request(loaded, prompt, settings, None, 0.0, first).settings
        pixels = picture_from(picture, self.shape)
        made = variations(loaded.model, pixels, [first + i for i in range(n)], strength, prompt, chosen)
        return [Image.fromarray(one) for one in made]

    def edit(
        self,
        picture: Any,
        without: str,
        with_: str,
        n: int = 1,
        seed: int = 0,
        *,
        strength: float = EDIT_STRENGTH,
        **settings: Any,
    ) -> list[Image.Image]:
        """A picture changed by the difference of two prompts, such as "a man" and "a man with a hat".

        strength: 0 to 1, how far to go.
        UserError where this kind of model has no directions of words; an unclip model has.
        """
        from unstir.exploration import edited, picture_from

        loaded = self._for(settings)
        chosen = self._request(loaded, "", settings, None, 0.0, checked_seed(seed)).settings
        pixels = picture_from(picture, self.shape)
        made = edited(loaded.model, pixels, without, with_, [seed + i for i in range(n)], strength, chosen)
        return [Image.fromarray(one) for one in made]

    def _request(
        self,
        loaded: "Loaded[Any]",
        prompt: str,
        settings: dict[str, Any],
        scorer: "ClipScorer | None",
        clip_guidance: float,
        seed: int = 0,
    ) -> Request:
        try:
            request = request_of(loaded, prompt, seed, **settings)
        except UserError as error:
            if isinstance(error.__cause__, BadSetting):  # named as here, not as on the command line
                raise UserError(str(error.__cause__)) from None
            raise
        return request if scorer is None else replace(request, clip=scorer.settings(clip_guidance))

    def _for(self, settings: dict[str, Any]) -> "Loaded[Any]":
        """With the few-step weights where so few steps are asked for and the file has some."""
        steps = settings.get("steps")
        if not isinstance(steps, int) or not 0 < steps <= self._loaded.few_up_to:
            return self._loaded
        if self._few is None:
            self._few = open_model(self.path, str(self._loaded.model.device), self._dtype, steps)
        return self._few

    def _scorer(self, clip_guidance: float, clip: Path | str | None) -> "ClipScorer | None":
        if not clip_guidance:
            return None
        from unstir.clip_guidance import open_clip_scorer

        return open_clip_scorer(None if clip is None else Path(clip), self.shape)
