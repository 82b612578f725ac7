"""Converting a drawing to a square, transparent WebP."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from tools.icons.drawings import IconFile
from unstir.errors import UserError

_QUALITY = 95
"""Of WebP for coloured drawings; those of one colour are lossless."""


class NotDrawn(Exception):
    """A file that cannot be drawn. The message is one sentence."""


def require_renderer() -> None:
    """Raise UserError if SVG cannot be drawn here."""
    try:
        import resvg_py  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise UserError("To draw SVG, resvg-py is needed: pip install 'unstir[icons]'.") from error


def encoded(drawing: IconFile, size: int) -> bytes:
    """The drawing as WebP: size × size, RGBA, straight alpha. Raises NotDrawn."""
    picture = _squared(_opened(drawing.path, size), size)
    if picture.getchannel("A").getextrema() == (0, 0):
        raise NotDrawn("it is empty")
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=drawing.style.ink, quality=100 if drawing.style.ink else _QUALITY, method=4)
    return file.getvalue()


def _opened(path: Path, size: int) -> Image.Image:
    try:
        content = path.read_bytes()
        if path.suffix == ".svg":
            content = _drawn(content, size)
        with Image.open(io.BytesIO(content)) as picture:
            return picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotDrawn(f"it cannot be drawn ({error})") from error


def _drawn(svg: bytes, size: int) -> bytes:
    """SVG as PNG, its longer side `size`. Fonts of the system are not used: they differ from machine to machine."""
    import resvg_py

    try:
        text = svg.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = svg.decode("latin-1")  # as old files of Adobe Illustrator declare
    png: bytes = bytes(resvg_py.svg_to_bytes(svg_string=text, width=size, height=size, skip_system_fonts=True))
    return png


def _squared(picture: Image.Image, size: int) -> Image.Image:
    """The picture in the middle of a transparent square, as large as fits."""
    if max(picture.size) != size:
        picture = ImageOps.contain(picture, (size, size), Image.Resampling.LANCZOS)
    if picture.size != (size, size):
        square = Image.new("RGBA", (size, size))
        square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
        picture = square
    return picture
