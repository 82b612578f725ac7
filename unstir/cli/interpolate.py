"""unstir interpolate: the pictures between two prompts, two seeds or two pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.generate import SettingOptions, free_path
from unstir.cli.progress import bar
from unstir.cli.setting_options import given
from unstir.errors import UserError
from unstir.request import checked_device, checked_seed, open_model, request_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE_GIVEN = SettingOptions()


def interpolate(
    a: str,
    b: str,
    *,
    frames: int = 9,
    prompt: str = "",
    seed: int = 0,
    settings: SettingOptions = NONE_GIVEN,  # type: ignore[valid-type]
    model: Path | None = None,
    device: str = "auto",
    out: Path = Path("out"),
) -> None:
    """Draw the pictures between A and B: two prompts, two seeds, or two picture files.

    Between prompts the word vectors (of an unclip model the embeddings) are interpolated, between seeds the noise, and
    between pictures their places in the model's space: latents, or the noise that sampling turns into them.

    Parameters
    ----------
    a
        A prompt, a seed, or a picture file.
    b
        The same.
    frames
        How many pictures, A and B among them.
    prompt
        What to draw between two seeds.
    seed
        Of the path between two prompts.
    model
        A model file, or the folder of a run; also of an autoencoder. Default: the icon model that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Folder for the sheet of all pictures and the animation.
    """
    from unstir.exploration import ends_of, path_between
    from unstir.image.filmstrip import animate
    from unstir.image.png import save_png
    from unstir.image.sheet import sheet

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    checked_seed(seed)
    network, chosen, request = _opened(model, device, prompt, seed, given(settings))
    ends = ends_of(a, b, network.shape)
    pictures: list[NDArray[np.uint8]] = []
    with bar("drawing", frames) as progress:
        for picture in path_between(network, ends, frames, seed, prompt, chosen):
            pictures.append(picture)
            progress(len(pictures), f"picture {len(pictures)} of {frames}")
    scale = max(1, 96 // pictures[0].shape[0])
    captions = [f"{i / (frames - 1):.2f}" for i in range(frames)]
    page = sheet(pictures, columns=min(frames, 12), captions=captions, scale=scale, background="checker")
    contents: dict[str, Any] = {"path": [_named(a), _named(b)], "between": ends.kind, **request}
    path = free_path(out, "path", contents, page)
    save_png(path, page, contents)
    moving = path.with_suffix(".webp")
    animate(moving, [*pictures, *pictures[-2:0:-1]], scale=2 * scale)
    print(path, moving, sep="\n")


def _opened(
    model: Path | None, device: str, prompt: str, seed: int, settings: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """A model that draws with its settings and request, or an autoencoder with none."""
    from unstir.weights.model_file import find_model, kind_of_file, load_kind

    if model is not None and kind_of_file(find_model(model)).settings is None:
        if settings:
            raise UserError(f"{model} has no settings; omit them")
        return load_kind(model, "autoencoder", checked_device(device)), None, {}
    loaded = open_model(model, device, steps=settings.get("steps"))
    request = request_of(loaded, prompt, seed, **settings)
    return loaded.model, request.settings, request.values()


def _named(end: str) -> str:
    """A file by its name only: a shared sheet should not contain paths of the machine that it was made on."""
    return Path(end).name if Path(end).is_file() else end
