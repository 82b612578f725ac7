"""unstir reproduce: the same picture again, from what its file says."""

from pathlib import Path

from unstir.cli.drawing import draw, fingerprint, open_judge, open_model, pixels_of
from unstir.cli.progress import say
from unstir.errors import UserError


def reproduce(
    picture: Path,
    *,
    model: Path | None = None,
    clip: Path | None = None,
    device: str = "auto",
    out: Path | None = None,
) -> None:
    """Draw PICTURE again from the request in its file, and say whether every pixel is the same.

    Parameters
    ----------
    picture
        A PNG that unstir wrote.
    model
        The model it was made with. Default: the icon model that comes with unstir.
    clip
        The CLIP that guided it, if one did. Default: the one that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Where to write the new picture. Default: PICTURE with "-again" in its name.
    """
    from unstir.image.png import load_pixels, read_request, save_png

    if out is not None and out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file")
    request = read_request(picture)
    missing = {"prompt", "negative", "seed", "size", "steps", "sampler", "dtype", "model_hash"} - set(request)
    if missing:
        raise UserError(f"{picture} does not say its {', '.join(sorted(missing))}; it cannot be made again")
    steps = request["steps"]
    loaded = open_model(model, device, str(request["dtype"]), steps if isinstance(steps, int) else None)
    if fingerprint(loaded.path) != request["model_hash"]:
        raise UserError(
            f"{picture} was made with the model {request.get('model')} ({request['model_hash']}), "
            f"and {loaded.path} is another one; name the right one with --model"
        )
    judge = None
    if "clip" in request:
        judge = open_judge(clip, loaded)
        wish = request["clip"]
        if not isinstance(wish, dict) or fingerprint(judge.path) != wish.get("model_hash"):
            raise UserError(f"{picture} was guided by another CLIP than {judge.path}; name the right one with --clip")
    *_, last = draw(loaded, request, judge)
    again = pixels_of(last.x0)
    path = out or picture.with_name(f"{picture.stem}-again.png")
    save_png(path, again, request)
    print(path)
    before = load_pixels(picture)
    if before.shape == again.shape and (before == again).all():
        say("every pixel is the same")
        return
    differing = (before != again).any(-1).mean() if before.shape == again.shape else 1.0
    raise UserError(
        f"{differing:.1%} of the pixels differ: the picture was made on another kind of machine "
        f"({request.get('device', 'unknown')} there, {loaded.model.device.type} here), or changed since"
    )
