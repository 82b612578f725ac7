"""Renders a drawing as a square, transparent WebP."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from tools.icons.drawings import IconDrawing
from unstir.errors import UserError

_QUALITY = 95
"""WebP quality of drawings in colour; those in one colour are stored without loss."""


class RenderError(Exception):
    """A picture file cannot be rendered; the message is the end of a sentence."""


def require_svg_renderer() -> None:
    """Raise UserError if SVG cannot be rendered here, before any work is done."""
    try:
        import resvg_py  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise UserError("Rendering SVG needs resvg-py: pip install 'unstir[icons]' and start again.") from error


def render_webp(drawing: IconDrawing, size: int) -> bytes:
    """The drawing as WebP: size × size, RGBA, straight alpha. Raises RenderError, also where all is transparent."""
    picture = _fitted_square(_rasterised(drawing.path, size), size)
    if picture.getchannel("A").getextrema() == (0, 0):
        raise RenderError("it is fully transparent")
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=drawing.style.ink, quality=100 if drawing.style.ink else _QUALITY, method=4)
    return file.getvalue()


def _rasterised(path: Path, size: int) -> Image.Image:
    try:
        content = path.read_bytes()
        if path.suffix == ".svg":
            content = _svg_to_png(content, size)
        with Image.open(io.BytesIO(content)) as picture:
            return picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RenderError(f"it cannot be rendered ({error})") from error


def _svg_to_png(svg: bytes, size: int) -> bytes:
    """SVG as PNG, its longer side `size`. System fonts are not used: they differ from machine to machine."""
    import resvg_py

    try:
        text = svg.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = svg.decode("latin-1")  # declared by old files of Adobe Illustrator
    png: bytes = bytes(resvg_py.svg_to_bytes(svg_string=text, width=size, height=size, skip_system_fonts=True))
    return png


def _fitted_square(picture: Image.Image, size: int) -> Image.Image:
    """The picture centred on a transparent square, as large as fits."""
    if max(picture.size) != size:
        picture = ImageOps.contain(picture, (size, size), Image.Resampling.LANCZOS)
    if picture.size != (size, size):
        square = Image.new("RGBA", (size, size))
        square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
        picture = square
    return picture
