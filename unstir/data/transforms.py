"""From encoded bytes to a square array of the right size."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 8192 * 8192
"""A picture with more pixels than this is refused before it is unpacked: a few kilobytes can claim gigabytes."""

WHITE = 255


def decode(data: bytes) -> Image.Image:
    """Decode a picture to mode "RGB" or "RGBA", turned upright (EXIF); of an animation, the first frame.

    Grey, palette, CMYK and 16-bit pictures are converted; 16-bit values keep their upper 8 bits' worth.
    Raises ValueError with a sentence: no picture, a broken or truncated one, or one of more than MAX_PIXELS.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.load()
        return ImageOps.exif_transpose(_to_rgb(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"The picture has more than {MAX_PIXELS // 2**20} million pixels.") from error
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, zlib.error, IndexError, ...
        detail = "no known kind of picture" if "cannot identify" in str(error) else str(error)
        raise ValueError(f"The picture cannot be decoded ({detail or type(error).__name__}).") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to "RGB", or to "RGBA" where the picture carries transparency of any kind."""
    exif = image.getexif()
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling, which turns almost everything white.
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    else:
        image = image.convert("RGB")
    if 0x0112 in exif:  # conversion drops the orientation in some modes
        image.getexif()[0x0112] = exif[0x0112]
    return image


def has_alpha(image: Image.Image) -> bool:
    """Whether some pixel is really transparent (alpha < 255); a channel that is 255 throughout does not count."""
    return image.mode == "RGBA" and np.asarray(image.getchannel("A")).min() < 255


def fit(image: Image.Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Make a decoded picture square.

    image: mode "RGB" or "RGBA".  size: side in pixels, >= 1.  channels: 3 or 4.
    Transparent pictures are padded to a square with transparent pixels, opaque ones cropped to their centre.
    Returns (size, size, channels) uint8, alpha straight; with 3 channels a transparent picture lies on white.
    Fully transparent pixels are (0, 0, 0, 0). Raises ValueError for other modes, sizes and channels.
    """
    if channels not in (3, 4) or size < 1 or image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"cannot fit mode {image.mode} to size {size} with {channels} channels")
    if not has_alpha(image):
        square = _resize(_crop(image.convert("RGB")), size)
        return np.asarray(square if channels == 3 else square.convert("RGBA"))
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
    """Average whole blocks while the picture is far too large, so that padding a long strip costs no gigabytes."""
    factor = max(image.size) // (4 * size)
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
    return _shrink(image, size).resize((size, size), method)
