"""unstir reproduce: draw a picture again from the request in its PNG file."""

from pathlib import Path

from unstir.cli.progress import say
from unstir.errors import UserError
from unstir.request import draw, fingerprint, open_model, request_from


def reproduce(
    picture: Path,
    *,
    model: Path | None = None,
    clip: Path | None = None,
    device: str = "auto",
    out: Path | None = None,
) -> None:
    """Draw PICTURE again from the request in its file, and report whether every pixel is equal.

    Parameters
    ----------
    picture
        A PNG that unstir wrote.
    model
        The model it was made with. Default: the icon model that comes with unstir.
    clip
        The CLIP of its CLIP guidance, if it has any. Default: the one that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Where to write the new picture. Default: PICTURE with "-again" in its name.
    """
    from unstir.image.png import load_pixels, read_request, save_png

    if out is not None and out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file")
    values = read_request(picture)
    if "varied" in values or "path" in values:
        raise UserError(
            f"{picture} was made from other pictures or between prompts; it cannot be made from its file alone"
        )
    missing = {"prompt", "seed", "dtype", "model_hash"} - set(values)
    if missing:
        raise UserError(f"{picture} does not say its {', '.join(sorted(missing))}; it cannot be made again")
    steps = values.get("steps")
    loaded = open_model(model, device, str(values["dtype"]), steps if isinstance(steps, int) else None)
    if fingerprint(loaded.path) != values["model_hash"]:
        raise UserError(
            f"{picture} was made with the model {values.get('model')} ({values['model_hash']}), "
            f"and {loaded.path} is another one; name the right one with --model"
        )
    lacking = [name for name in loaded.settings.table() if name not in values]
    request = request_from({"model": "", "device": "", "version": "", **values}, type(loaded.settings))
    if {"steps", "sampler", "size", "negative"} & set(lacking):
        raise UserError(f"{picture} does not say its {', '.join(sorted(lacking))}; it cannot be made again")
    scorer = None
    if request.clip is not None:
        from unstir.clip_guidance import open_clip_scorer

        scorer = open_clip_scorer(clip, loaded.model.shape)
        if fingerprint(scorer.path) != request.clip.model_hash:
            raise UserError(f"{picture} was guided by another CLIP than {scorer.path}; name the right one with --clip")
    *_, last = draw(loaded, [request], scorer)
    again = last.picture[0]
    path = out or picture.with_name(f"{picture.stem}-again.png")
    save_png(path, again, values)
    print(path)
    before = load_pixels(picture)
    if before.shape == again.shape and (before == again).all():
        say("every pixel is the same")
        return
    differing = (before != again).any(-1).mean() if before.shape == again.shape else 1.0
    raise UserError(
        f"{differing:.1%} of the pixels differ: the picture was made on another kind of machine "
        f"({values.get('device', 'unknown')} there, {loaded.model.device.type} here), or changed since"
    )
