"""unstir generate: draw pictures of a prompt."""

import math
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from unstir.cli.progress import bar, say
from unstir.cli.setting_options import given, setting_options
from unstir.errors import UserError
from unstir.request import Request, draw, open_model, request_of
from unstir.text.prompt import check_prompt
from unstir.text.vocabulary import correct_spelling, unknown_word_notes, unknown_words, words_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unstir.clip_guidance import ClipScorer
    from unstir.weights.model_file import Loaded

SettingOptions = setting_options()
NONE_GIVEN = SettingOptions()


def generate(
    prompt: str,
    *,
    n: Annotated[int, Parameter(alias="-n")] = 1,
    seed: int | None = None,
    settings: SettingOptions = NONE_GIVEN,  # type: ignore[valid-type]
    clip_guidance: float = 0.0,
    clip: Path | None = None,
    model: Path | None = None,
    device: str = "auto",
    out: Path = Path("out"),
    trace: bool = False,
    spellcheck: Annotated[bool, Parameter(negative="--no-spellcheck")] = True,
    as_written: Annotated[bool, Parameter(negative=(), show=False)] = False,
) -> None:
    """Generate pictures from PROMPT.

    Parameters
    ----------
    prompt
        What to draw, for example "red apple, fluent 3d".
    n
        How many pictures. Picture i has seed + i. With more than one, a contact sheet (sheet.png) is written too.
    seed
        A whole number; the same prompt and seed give the same picture. Default: random; it is in the file name.
    clip_guidance
        Scale of CLIP guidance, in addition to --guidance; 0 is off.
    clip
        The CLIP for --clip-guidance and for the curve of --trace. Default: the one that comes with unstir.
    model
        A model file, or the folder of a run. Default: the icon model that comes with unstir.
    device
        cpu, cuda, or auto.
    out
        Folder for the pictures.
    trace
        Also write the sampling trace: every step in one PNG and as an animation, with the CLIP score if a CLIP fits.
    spellcheck
        Correct words of the prompt that look like typos, with a note.
    as_written
        The same as --no-spellcheck.
    """
    _check(n, clip_guidance, out)
    check_prompt(prompt)
    check_prompt(getattr(settings, "negative", None) or "", "the negative prompt")
    if seed is None:
        seed = secrets.randbelow(2**31)
    chosen = given(settings)
    loaded = open_model(model, device, steps=chosen.get("steps"))
    seen, planned = loaded.notes.get("images_seen", 0), loaded.notes.get("images", 0)
    if seen < planned:
        say(f"note: this model is still in training: {seen:,} of {planned:,} pictures seen")
    side = loaded.model.shape[-1]
    if chosen.get("size", side) != side:
        say(f"note: this model was trained at {side} pixels; other sizes give worse pictures")
    prompt = _spelling(prompt, chosen.get("negative", ""), loaded, spellcheck and not as_written)
    first = request_of(loaded, prompt, seed, **chosen)
    scorer = _scorer(loaded, prompt, clip, clip_guidance, trace)
    if scorer and clip_guidance:
        first = replace(first, clip=scorer.settings(clip_guidance))
    requests = [replace(first, seed=seed + i) for i in range(n)]
    pictures = _draw(loaded, requests, scorer, out, trace)
    if n > 1:
        _write_sheet(out, requests, pictures)


def _draw(
    loaded: "Loaded[Any]", requests: list[Request], scorer: "ClipScorer | None", out: Path, trace: bool
) -> "list[NDArray[np.uint8]]":
    """Draw and write the pictures, one after the other."""
    from unstir.image.png import save_png

    score = scorer.score(requests[0].prompt) if scorer and trace else None
    pictures = []
    with bar("drawing", len(requests)) as progress:
        for i, request in enumerate(requests):
            frames: list[tuple[Any | None, Any, float | None]] = []
            scores: list[float] = []
            for frame in draw(loaded, [request], scorer):
                if trace:
                    state = frame.state
                    frames.append((None if state is None else state[0], frame.picture[0], frame.t))
                if score:
                    scores.append(score(frame.picture))
                progress(i + (frame.i + 1) / frame.total, f"picture {i + 1} of {len(requests)}")
            pictures.append(frame.picture[0])
            path = free_path(out, name_of(request), request.values(), pictures[-1])
            save_png(path, pictures[-1], request.values())
            print(path)
            if trace:
                _write_trace(path, frames, scores or None)
    return pictures


def _spelling(prompt: str, negative: str, loaded: "Loaded[Any]", correct: bool) -> str:
    """The prompt with its typos corrected; prints corrections, and words that were not in the training captions.

    correct: whether to correct typos.
    """
    known = loaded.notes.get("words") or words_of(f"{prompt} {negative}")
    if correct:
        prompt, corrected = correct_spelling(prompt, known)
        for wrong, right in corrected.items():
            say(f"note: {wrong!r} was not in the training captions; drawing {right!r} (--no-spellcheck keeps it)")
    for line in unknown_word_notes(unknown_words(f"{prompt} {negative}", known)):
        say(f"note: {line}")
    return prompt


def _check(n: int, clip_guidance: float, out: Path) -> None:
    """Check the options before anything is loaded."""
    if n < 1:
        raise UserError(f"-n must be 1 or more, got {n}")
    if not math.isfinite(clip_guidance):
        raise UserError(f"--clip-guidance must be a finite number, got {clip_guidance}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")


def _scorer(
    loaded: "Loaded[Any]", prompt: str, clip: Path | None, clip_guidance: float, trace: bool
) -> "ClipScorer | None":
    """The CLIP for guidance or for the curve of the trace; None where neither is wanted.

    With --trace alone the CLIP is optional: if it does not fit the model or the prompt, there is no curve.
    """
    if clip_guidance and not prompt.strip():
        raise UserError("--clip-guidance needs a prompt, and it is empty; write what to draw")
    if clip and not (clip_guidance or trace):
        raise UserError("--clip has an effect only with --clip-guidance or --trace; give one of them")
    if not (clip_guidance or trace):
        return None
    from unstir.clip_guidance import open_clip_scorer

    try:
        scorer = open_clip_scorer(clip, loaded.model.shape)
        scorer.clip.tokenize([prompt])
    except (UserError, ValueError) as error:
        if clip_guidance or clip:
            raise UserError(str(error)) from None
        return None
    return scorer


def name_of(request: Request) -> str:
    """Prompt and seed as a file name without its ending."""
    words = re.sub(r"[^\w]+", "-", request.prompt.lower()).strip("-")[:60]
    short = words.encode()[:120].decode(errors="ignore")  # a name may have 255 bytes
    return f"{short or 'picture'}-{request.seed}"


def free_path(out: Path, name: str, request: dict[str, Any], pixels: "NDArray[np.uint8]") -> Path:
    """The path to write a picture to: a free name, or an existing file of the same picture and request.

    Other files are never overwritten. UserError where no name is free.
    """
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
    raise UserError(f"{out} has too many pictures named {name}; give another folder with --out")


def _write_sheet(out: Path, requests: list[Request], pictures: "list[NDArray[np.uint8]]") -> None:
    from unstir.image.png import save_png
    from unstir.image.sheet import sheet

    captions = [f"seed {request.seed}" for request in requests]
    scale = max(1, 96 // pictures[0].shape[0])
    page = sheet(pictures, captions=captions, scale=scale, background="checker")
    contents = {"sheet": [request.values() for request in requests]}
    path = free_path(out, "sheet", contents, page)
    save_png(path, page, contents)
    print(path)


def _write_trace(path: Path, frames: list[tuple[Any | None, Any, float | None]], scores: list[float] | None) -> None:
    """Write the film strip and the animation. frames: (state or None, picture, t or None) of each step."""
    from unstir.image.filmstrip import animate, film_strip, trace_frames
    from unstir.image.png import save_png

    strip, moving = path.with_name(f"{path.stem}-trace.png"), path.with_name(f"{path.stem}-trace.webp")
    pairs = [(picture if state is None else state, picture) for state, picture, _ in frames]
    times = [t for *_, t in frames if t is not None]
    scale = max(1, 96 // pairs[0][0].shape[0])
    shown = times if len(times) == len(frames) else None
    rows: tuple[str, ...] = ("x_t", "x0") if shown else ("state", "picture")
    if all(state is None for state, *_ in frames):
        rows = ("picture",)
    save_png(strip, film_strip(pairs, scale=scale, values=scores, value_label="CLIP", times=shown, rows=rows))
    moves = trace_frames(pairs) if len(rows) > 1 else [picture for _, picture in pairs]
    animate(moving, moves, scale=2 * scale)
    print(strip, moving, sep="\n")
