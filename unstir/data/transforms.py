"""From an encoded picture to a square array: decoding, transparency, cropping, padding, scaling."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, features

MAX_PIXELS = 8192 * 8192
"""A picture with more pixels is refused before it is unpacked: a few kilobytes can claim gigabytes."""

OPAQUE_ALPHA = 250
"""From this alpha on a pixel counts as opaque: 254 comes from rounding and is not visible."""

TRANSPARENT_FRACTION = 0.001
"""A picture is transparent if more than this share of its pixels is not opaque. One pixel in a thousand is less than
the rounded corners of a picture, and more than what stray pixels of an image editor come to."""

WHITE = 255
_ORIENTATION = 0x0112  # the EXIF tag
_GAP = 4.0
"""Whole blocks of pixels are averaged first where a picture is larger than this many times the size."""

_REDUCED = 2
"""A reduced picture has at least this many times the size wanted, so that scaling still averages."""


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read: AVIF and WebP depend on how Pillow was built."""
    optional = [name for name in ("avif", "webp") if name in features.modules and features.check(name)]
    return ("PNG", "JPEG", "BMP", "GIF", "TIFF", *(name.upper() for name in optional))


Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""


@dataclass(frozen=True)
class Decoded:
    """A picture decoded for a size.

    image: mode "RGB" or "RGBA", upright; at reduced scale where it was a large JPEG.
    width, height: of the picture in full, upright.
    square: the centre square within a reduced image; None where the image is not reduced.
    """

    image: Image.Image
    width: int
    height: int
    square: Box | None = None


def decode(data: bytes) -> Image.Image:
    """Decode a picture at its full size, to mode "RGB" or "RGBA", upright by its EXIF orientation.

    Of an animation the first frame is taken, of several pages the first page. Grey, palette, CMYK and 16-bit pictures
    are converted; 16-bit values keep their upper 8 bits.
    Raises ValueError with a sentence: no picture, a broken or truncated one, or one of more than MAX_PIXELS.
    """
    return _decode(data, None).image


def decode_reduced(data: bytes, size: int) -> Decoded:
    """Decode a picture as `decode` does, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    That is many times faster and averages blocks of pixels exactly as scaling would; results differ by a few levels,
    so what `fit` makes of a JPEG depends on `size` in this way too.
    size: the side in pixels that the picture will be scaled to; both sides stay at least twice as long.
    Raises ValueError as `decode` does.
    """
    return _decode(data, size)


def _decode(data: bytes, size: int | None) -> Decoded:
    try:
        image = Image.open(io.BytesIO(data), formats=picture_formats())
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        full = image.size
        if size is not None:
            image.draft(None, (_REDUCED * size, _REDUCED * size))  # does nothing but for JPEG
        reduced = image.size != full
        orientation = image.getexif().get(_ORIENTATION)
        image.load()
        upright = ImageOps.exif_transpose(_to_rgb(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the picture has more than {MAX_PIXELS // 2**20} million pixels") from error
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, zlib.error, IndexError, ...
        raise ValueError(f"the picture cannot be decoded ({_cause(error, data)})") from error
    if not reduced:
        return Decoded(upright, *upright.size)
    width, height = full[::-1] if orientation in range(5, 9) else full
    return Decoded(upright, width, height, _centre_square(upright.size, (width, height), orientation))


def _centre_square(reduced: tuple[int, int], full: tuple[int, int], orientation: object) -> Box:
    """The centre square of a picture, in pixels of its reduced image.

    One of its pixels is a block of k × k; a last block that is not full was extended, and after turning may come first.
    """
    k = round(full[0] / reduced[0])
    side = min(full) / k
    left, top = ((length / k - side) / 2 for length in full)
    if orientation in (2, 3, 6, 7):  # turned from left to right
        left += reduced[0] - full[0] / k
    if orientation in (3, 4, 7, 8):  # upside down
        top += reduced[1] - full[1] / k
    return left, top, left + side, top + side


def _cause(error: Exception, data: bytes) -> str:
    """Why a picture cannot be decoded."""
    if "cannot identify" not in str(error):
        return str(error) or type(error).__name__
    for name, found in (("AVIF", data[4:11] == b"ftypavi"), ("WEBP", data[:4] + data[8:12] == b"RIFFWEBP")):
        if found and name not in picture_formats():
            return f"this installation of Pillow reads no {name}; convert it to PNG"
    return "no known kind of picture"


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to "RGB", or to "RGBA" where the picture has an alpha channel or a transparent colour."""
    exif = image.getexif()
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers of unknown range; save it with 8 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling, which turns almost everything white.
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    else:
        image = image.convert("RGB")
    if _ORIENTATION in exif:  # conversion drops the orientation in some modes
        image.getexif()[_ORIENTATION] = exif[_ORIENTATION]
    return image


def has_alpha(image: Image.Image) -> bool:
    """Whether a decoded picture is really transparent: more than TRANSPARENT_FRACTION of it below OPAQUE_ALPHA.

    An icon is, with or without soft edges; a photograph with an alpha channel of 255, or with a few stray pixels
    below, is not.
    """
    if image.mode != "RGBA":
        return False
    counts = image.getchannel("A").histogram()
    return sum(counts[:OPAQUE_ALPHA]) > TRANSPARENT_FRACTION * sum(counts)


def fit(image: Image.Image, size: int, channels: int, square: Box | None = None) -> npt.NDArray[np.uint8]:
    """Make a decoded picture square.

    Transparent pictures (`has_alpha`) are padded to a square with transparent pixels, opaque ones cropped to their
    centre; an alpha channel of an opaque picture is left out.
    image: mode "RGB" or "RGBA".  size: side in pixels, >= 1.  channels: 3 or 4.
    square: the part of an opaque picture to keep (`Decoded.square`); by default its centre.
    Returns (size, size, channels) uint8, alpha straight; with 3 channels a transparent picture has a white background.
    Fully transparent pixels are (0, 0, 0, 0).
    Raises ValueError for other modes, sizes and channels.
    """
    if channels not in (3, 4) or size < 1 or image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"cannot fit mode {image.mode} to size {size} with {channels} channels")
    if not has_alpha(image):
        opaque = image.convert("RGB")
        if square is None:
            scaled = _resize(_crop(opaque), size)
        else:
            scaled = opaque.resize((size, size), Image.Resampling.HAMMING, box=square)
        return np.asarray(scaled if channels == 3 else scaled.convert("RGBA"))
    # Premultiplied: straight colours would average in the hidden colour of transparent pixels, a dark fringe.
    premultiplied = _resize(_pad(_shrink(image.convert("RGBa"), size)), size)
    pixels = np.asarray(premultiplied).astype(np.int64)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    if channels == 3:
        return (colour + (WHITE - alpha)).clip(0, 255).astype(np.uint8)
    straight = (colour * 255 + alpha // 2) // np.maximum(alpha, 1)  # rounded; Pillow's own conversion truncates
    return np.concatenate([straight.clip(0, 255), alpha], axis=-1).astype(np.uint8)


def _crop(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _pad(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _shrink(image: Image.Image, size: int) -> Image.Image:
    """Average whole blocks where the picture is far too large, so that padding a long strip takes little memory."""
    factor = int(max(image.size) / (_GAP * size))
    return image.reduce(factor) if factor > 1 else image


def _resize(image: Image.Image, size: int) -> Image.Image:
    """Shrink with a filter that averages and has no negative lobes (no halos); enlarge bicubically.

    Premultiplied pictures are enlarged linearly: where bicubic overshoots, alpha is clipped at 255 and colour is not.
    """
    if image.width == size:
        return image
    if image.width > size:
        method = Image.Resampling.HAMMING
    else:
        method = Image.Resampling.BILINEAR if image.mode == "RGBa" else Image.Resampling.BICUBIC
    return image.resize((size, size), method, reducing_gap=_GAP)
