"""unstir generate: words to pictures."""

import math
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from unstir.cli.drawing import Judge, Request, draw, open_judge, open_model, pixels_of, request_of
from unstir.cli.progress import bar, say
from unstir.errors import UserError
from unstir.text.vocabulary import correct_spelling, unknown_word_notes, unknown_words, words_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unstir.weights.model_file import Loaded


def generate(
    prompt: str,
    *,
    n: Annotated[int, Parameter(alias="-n")] = 1,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    negative: str = "",
    clip_guidance: float = 0.0,
    clip: Path | None = None,
    size: int | None = None,
    model: Path | None = None,
    device: str = "auto",
    out: Path = Path("out"),
    trace: bool = False,
    as_written: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Draw pictures of PROMPT.

    Parameters
    ----------
    prompt
        What to draw, for example "red apple, fluent 3d".
    n
        How many pictures. Picture i has seed + i; more than one get a sheet.png beside them.
    seed
        A whole number; the same prompt and seed give the same picture. Chosen and told if left out.
    steps
        Denoising steps: more is finer and slower. For few, a model that has weights for few takes those.
    guidance
        How strongly to follow the words; 1 is off.
    sampler
        ddim, ddpm, blend, euler, heun, dpmpp_2m or sde.
    negative
        What to stay away from.
    clip_guidance
        How far CLIP moves every predicted picture towards the words, beside --guidance; 0 is off.
    clip
        The CLIP for it, and for the curve of --trace. Default: the one that comes with unstir.
    size
        Side in pixels, a multiple of the model's patch.
    model
        A model file, or the folder of a run. Default: the icon model that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Folder for the pictures.
    trace
        Also write the film strip of every step, as PNG and as an animation, with CLIP's score if one fits.
    as_written
        Leave words that look misspelt as they are.
    """
    _check(n, steps, guidance, clip_guidance, size, out)
    _check_text(prompt, negative)
    if seed is None:
        seed = secrets.randbelow(2**31)
    loaded = open_model(model, device, steps=steps)
    seen, planned = loaded.notes.get("images_seen", 0), loaded.notes.get("images", 0)
    if seen < planned:
        say(f"note: this model is still in training: {seen:,} of {planned:,} pictures seen")
    side = loaded.model.shape[-1]
    if size and size != side:
        say(f"note: this model was trained at {side} pixels; other sizes are drawn, but less well")
    known = loaded.notes.get("words") or words_of(f"{prompt} {negative}")
    if not as_written:
        prompt, mended = correct_spelling(prompt, known)
        for wrong, right in mended.items():
            say(f"note: drawing {right!r} for {wrong!r}, which was not in the training words (--as-written keeps it)")
    for line in unknown_word_notes(unknown_words(f"{prompt} {negative}", known)):
        say(f"note: {line}")
    dials = {"steps": steps, "guidance_scale": guidance, "sampler": sampler}
    first = request_of(loaded, prompt, negative, seed, size, **dials)
    if negative and first["guidance_scale"] == 1:
        raise UserError("--negative works through guidance; give a --guidance above 1 with it")
    judge = _judge(loaded, prompt, clip, clip_guidance, trace)
    if judge and clip_guidance:
        first["clip"] = judge.wish(clip_guidance)
    score = judge.score(prompt) if judge and trace else None
    requests = [first | {"seed": seed + i} for i in range(n)]

    from unstir.image.png import save_png

    pictures = []
    total = n * int(requests[0]["steps"])
    with bar("drawing", total) as progress:
        for i, request in enumerate(requests):
            frames, scores = [], []
            for step in draw(loaded, request, judge):
                if trace:
                    frames.append((pixels_of(step.xt), pixels_of(step.x0)))
                if score:
                    scores.append(score(step.x0))
                progress(i * total / n + step.i + 1, f"picture {i + 1} of {n}")
            pictures.append(pixels_of(step.x0))
            path = free_path(out, name_of(request), request, pictures[-1])
            save_png(path, pictures[-1], request)
            print(path)
            if trace:
                _write_trace(path, frames, scores or None)
    if n > 1:
        from unstir.image.sheet import sheet

        captions = [f"seed {request['seed']}" for request in requests]
        scale = max(1, 96 // pictures[0].shape[0])
        together = sheet(pictures, captions=captions, scale=scale, background="checker")
        path = free_path(out, "sheet", {"sheet": requests}, together)
        save_png(path, together, {"sheet": requests})
        print(path)


def _check(
    n: int, steps: int | None, guidance: float | None, clip_guidance: float, size: int | None, out: Path
) -> None:
    """Refuse before anything is loaded what no model can do."""
    if n < 1:
        raise UserError(f"-n must be 1 or more, got {n}")
    if steps is not None and steps < 1:
        raise UserError(f"--steps must be 1 or more, got {steps}")
    if guidance is not None and not math.isfinite(guidance):
        raise UserError(f"--guidance must be a finite number, got {guidance}")
    if not math.isfinite(clip_guidance):
        raise UserError(f"--clip-guidance must be a finite number, got {clip_guidance}")
    if size is not None and size < 1:
        raise UserError(f"--size must be 1 or more, got {size}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")


def _check_text(*texts: str) -> None:
    """Refuse what is no text: bytes on the command line that are not UTF-8 arrive as half surrogate pairs."""
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise UserError("the words are not valid UTF-8; write them again")


def _judge(loaded: "Loaded", prompt: str, clip: Path | None, clip_guidance: float, trace: bool) -> Judge | None:
    """The CLIP that guides the picture or scores its steps; None where none is asked for.

    Asked for by --trace alone it is an extra: where it does not fit, or the words do not, there is no curve.
    """
    if clip_guidance and not prompt.strip():
        raise UserError("--clip-guidance follows the words, and there are none; write what to draw")
    if clip and not (clip_guidance or trace):
        raise UserError("--clip is for --clip-guidance or --trace; give one of them with it")
    if not (clip_guidance or trace):
        return None
    try:
        judge = open_judge(clip, loaded)
        judge.clip.tokenize([prompt])
    except (UserError, ValueError) as error:
        if clip_guidance or clip:
            raise UserError(str(error)) from None
        return None
    return judge


def name_of(request: Request) -> str:
    """Words and seed as the name of a file."""
    words = re.sub(r"[^\w]+", "-", str(request["prompt"]).lower()).strip("-")[:60]
    short = words.encode()[:120].decode(errors="ignore")  # a name may have 255 bytes
    return f"{short or 'picture'}-{request['seed']}"


def free_path(out: Path, name: str, request: Request, pixels: "NDArray[np.uint8]") -> Path:
    """Where the picture goes: a free name, or the file of this very picture. Another one is never overwritten."""
    from unstir.image.png import load_pixels, read_request

    for number in range(1, 10_000):
        path = out / f"{name}{f'-{number}' if number > 1 else ''}.png"
        if not path.exists():
            return path
        try:
            there = load_pixels(path)
            if read_request(path) == request and there.shape == pixels.shape and (there == pixels).all():
                return path
        except UserError:
            continue
    raise UserError(f"{out} is full of pictures of this name; give another folder with --out")


def _write_trace(path: Path, frames: list, scores: list[float] | None) -> None:  # type: ignore[type-arg]
    from unstir.image.filmstrip import animate, film_strip, trace_frames
    from unstir.image.png import save_png

    strip, moving = path.with_name(f"{path.stem}-trace.png"), path.with_name(f"{path.stem}-trace.webp")
    scale = max(1, 96 // frames[0][0].shape[0])
    save_png(strip, film_strip(frames, scale=scale, values=scores, value_label="CLIP"))
    animate(moving, trace_frames(frames), scale=2 * scale)
    print(strip, moving, sep="\n")
