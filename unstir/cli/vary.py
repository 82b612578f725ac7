"""unstir vary: variations of a picture, and changes along a direction of words."""

import secrets
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from unstir.cli.generate import SettingOptions, free_path
from unstir.cli.setting_options import given
from unstir.errors import UserError
from unstir.request import checked_seed, open_model, request_of
from unstir.text.prompt import check_prompt

NONE_GIVEN = SettingOptions()


def vary(
    picture: Path,
    *,
    n: Annotated[int, Parameter(alias="-n")] = 4,
    prompt: str = "",
    without: str | None = None,
    with_: Annotated[str | None, Parameter(name="--with")] = None,
    strength: float | None = None,
    seed: int | None = None,
    settings: SettingOptions = NONE_GIVEN,  # type: ignore[valid-type]
    model: Path | None = None,
    device: str = "auto",
    out: Path = Path("out"),
) -> None:
    """Draw variations of PICTURE; or, with --without and --with, the picture changed by their difference.

    Parameters
    ----------
    picture
        A picture file. It is brought to the size of the model's pictures.
    n
        How many variations.
    prompt
        What they are to show. Default: what the picture shows.
    without
        The first prompt of a direction, for example "a man". For an unclip model.
    with_
        The second prompt of a direction, for example "a man with a hat".
    strength
        0 to 1: how far they may be from the picture (default 0.6), or how far to go in the direction (default 0.35).
    seed
        A whole number. Default: random; it is in the file names.
    model
        A model file, or the folder of a run. Default: the icon model that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Folder for the pictures.
    """
    from unstir.exploration import edited, read_picture, variations
    from unstir.image.png import save_png
    from unstir.image.sheet import sheet
    from unstir.settings import EDIT_STRENGTH, VARIATION_STRENGTH

    if n < 1:
        raise UserError(f"-n must be 1 or more, got {n}")
    if (without is None) != (with_ is None):
        raise UserError("a direction has two prompts; give both --without and --with, or none")
    if without is not None and prompt:
        raise UserError("--prompt belongs to variations, --without and --with to a direction; omit one of them")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    for text in (prompt, without or "", with_ or ""):
        check_prompt(text)
    if not picture.is_file():
        raise UserError(f"there is no picture {picture}")
    first = secrets.randbelow(2**31) if seed is None else checked_seed(seed)
    chosen = given(settings)
    loaded = open_model(model, device, steps=chosen.get("steps"))
    request = request_of(loaded, prompt, first, **chosen)
    pixels = read_picture(picture, loaded.model.shape)
    seeds = [first + i for i in range(n)]
    if without is not None and with_ is not None:
        far = EDIT_STRENGTH if strength is None else strength
        made = edited(loaded.model, pixels, without, with_, seeds, far, request.settings)
    else:
        far = VARIATION_STRENGTH if strength is None else strength
        made = variations(loaded.model, pixels, seeds, far, prompt, request.settings)
    contents: dict[str, Any] = {"varied": picture.name, "strength": far, "without": without, "with": with_}
    for one, pixels_made in zip(seeds, made, strict=True):
        values = {**request.values(), "seed": one, **contents}
        path = free_path(out, f"{picture.stem[:60]}-varied-{one}", values, pixels_made)
        save_png(path, pixels_made, values)
        print(path)
    scale = max(1, 96 // made.shape[1])
    captions = ["original", *(f"seed {one}" for one in seeds)]
    page = sheet([pixels[0].numpy(), *made], captions=captions, scale=scale, background="checker")
    path = free_path(out, "variations", contents, page)
    save_png(path, page, contents)
    print(path)
