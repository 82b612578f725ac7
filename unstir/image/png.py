"""PNG files that carry the request they were made from.

The request (prompt, seed, steps, …) is stored twice: as JSON under the key `unstir`, from which the picture can be
made again, and as text under `parameters`, which other tools show.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo

from unstir.errors import UserError
from unstir.files import write_atomic

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8, (H, W, 3) RGB or (H, W, 4) RGBA with straight (not premultiplied) alpha."""

REQUEST_KEY = "unstir"
PARAMETERS_KEY = "parameters"

# Pillow refuses to decompress a text of more than 1 MiB when it reads; what is written must be readable again.
MAX_REQUEST_BYTES = 1 << 20

_SURROGATES = re.compile("[\ud800-\udfff]")

# The names under which other tools know the samplers; any other name is written as it is.
_SAMPLER_NAMES = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp2m": "DPM++ 2M",
}


def save_png(path: Path, pixels: Pixels, request: Mapping[str, object] | None = None) -> None:
    """Write a picture with the request that it was made from. Atomic: the file is the old one or the new one.

    path: any suffix; the format is PNG.
    pixels: uint8 (H, W, 3 | 4), straight alpha; stored without loss, also the colour under alpha 0.
    request: values that JSON has, so no NaN or infinity. Tuples are read back as lists.

    Raises ValueError for other pixels and for NaN or infinity, TypeError for a value that JSON does not have,
    UserError for a request of more than 1 MiB, OSError if the file cannot be written. In each case nothing is written.
    """
    image = Image.fromarray(check_pixels(pixels))
    info = PngInfo()
    if request is not None:
        text = _to_json(request)
        if len(text.encode()) > MAX_REQUEST_BYTES:
            raise UserError(f"The request is too long to be kept in {path} (over 1 MiB); shorten the prompt.")
        info.add_itxt(REQUEST_KEY, text)
        info.add_text(PARAMETERS_KEY, _plain(parameters(request)))  # tEXt where Latin-1 suffices, else iTXt
    write_atomic(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=info))


def read_request(path: Path) -> dict[str, object]:
    """Read the request that `save_png` stored in a PNG.

    Raises UserError if the file is missing, is not a PNG, or has no request or a damaged one.
    """
    with _opened(path, ["PNG"]) as image:
        text = image.info.get(REQUEST_KEY)
        if text is None and isinstance(image, PngImageFile):
            text = image.text.get(REQUEST_KEY)  # other programs may have moved it after the pixels
    if text is None:
        raise UserError(
            f"{path} carries no unstir request: another program made it, or saved it again without its text; "
            "give the prompt and the seed yourself."
        )
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
        request = None
    if not isinstance(request, dict):
        raise UserError(f"The unstir request in {path} is damaged; give the prompt and the seed yourself.")
    return request


def parameters(request: Mapping[str, object]) -> str:
    """A request in the infotext format of AUTOMATIC1111's web UI, which most tools read.

    The prompt, then `Negative prompt: …`, then one line `Steps: 24, Sampler: DDIM, …`. Fields that the request does not
    have, or has as None, are left out. `size` is a number (square), a pair (width, height) or a text such as `64x64`.
    """
    sampler = request.get("sampler")
    version = request.get("version")
    fields = {
        "Steps": request.get("steps"),
        "Sampler": _SAMPLER_NAMES.get(str(sampler).lower(), sampler),
        "CFG scale": request.get("guidance_scale"),
        "Seed": request.get("seed"),
        "Size": _size(request.get("size")),
        "Model hash": request.get("model_hash"),
        "Model": request.get("model"),
        "Version": version if version is None or str(version).startswith("unstir") else f"unstir {version}",
    }
    negative = request.get("negative")
    lines = [
        str(request.get("prompt") or ""),
        f"Negative prompt: {negative}" if negative else "",
        ", ".join(f"{name}: {_field(value)}" for name, value in fields.items() if value is not None),
    ]
    return "\n".join(line for line in lines if line)


def load_pixels(path: Path) -> Pixels:
    """Read a picture of any format that Pillow reads, turned upright as its EXIF orientation says.

    Returns uint8 (H, W, 4) with straight alpha if the file has transparency, else (H, W, 3).
    Raises UserError if the file is missing, is not a picture, or is damaged.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16-bit grey: convert() would clip it at 255 instead of scaling
            grey = (np.asarray(upright).clip(0, 65535).astype(np.uint32) * 255 + 32767) // 65535
            return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
        return np.array(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))


def check_pixels(pixels: Pixels) -> Pixels:
    """Return the pixels, contiguous; raise ValueError unless they are uint8 (H, W, 3 | 4) with at least one pixel."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.size == 0:
        raise ValueError(f"pixels must be uint8 (H, W, 3 or 4), not {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels)


@contextmanager
def _opened(path: Path, formats: list[str] | None = None) -> Iterator[Image.Image]:
    """Open a picture; any error of opening or decoding the file becomes a UserError."""
    kind = "PNG" if formats else "picture"
    try:
        with Image.open(path, formats=formats) as image:
            yield image
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}; check the path.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a {kind}, or is damaged; give a {kind} file.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} has too many pixels to be opened safely; give a smaller {kind}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); give a {kind} file.") from error
    except Exception as error:
        # Damaged files make Pillow raise ValueError (text that decompresses beyond MAX_TEXT_CHUNK: a zip bomb),
        # SyntaxError, IndexError, EOFError and more, which have no common base.
        raise UserError(f"{path} has data or text in it that is damaged or far too large; give another one.") from error


def _to_json(request: Mapping[str, object]) -> str:
    """Compact JSON with sorted keys, one line, encodable as UTF-8."""
    text = json.dumps(dict(request), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # A lone surrogate (from a command line that was not UTF-8) has no UTF-8 form, but JSON can escape it.
    return _SURROGATES.sub(lambda lone: f"\\u{ord(lone[0]):04x}", text)


def _plain(text: str) -> str:
    """The text as a PNG text chunk may hold it: without NUL, which ends a text there, and without lone surrogates."""
    return _SURROGATES.sub("\ufffd", text.replace("\0", "\ufffd").replace("\r\n", "\n"))


def _size(size: object) -> object:
    match size:
        case int():
            return f"{size}x{size}"
        case [width, height]:
            return f"{width}x{height}"
    return size


def _field(value: object) -> str:
    """One value of the settings line: 4.0 as 4; in quotes where it has a character at which readers split."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n\r"') else text
