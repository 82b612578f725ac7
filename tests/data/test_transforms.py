import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from unstir.data.transforms import decode, fit, has_alpha


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width=8, height=6):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width) * 20
    pixels[..., 1] = np.arange(height)[:, None] * 30
    return Image.fromarray(pixels)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_orientation_is_applied(turn, kind):
    upright = gradient(32, 16)
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[turn]
    stored = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}}[kind]
    got = decode(encode(stored, kind, exif=exif, **options))
    assert got.size == (32, 16)
    assert np.abs(np.asarray(got).astype(int) - np.asarray(upright)).max() <= (4 if kind == "JPEG" else 0)


def test_orientation_survives_conversion():
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("L", "P", "LA", "RGBA"):
        assert decode(encode(gradient(8, 6).convert(mode), exif=exif)).size == (6, 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes_without_transparency(mode):
    image = gradient().convert(mode)
    got = decode(encode(image))
    assert got.mode == "RGB"
    assert np.array_equal(np.asarray(got), np.asarray(image.convert("RGB")))


def test_modes_with_transparency():
    alpha = Image.fromarray(np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8))
    grey = gradient().convert("L")
    grey.putalpha(alpha)
    assert np.array_equal(np.asarray(decode(encode(grey)).getchannel("A")), np.asarray(alpha))
    palette = gradient().quantize(8)
    got = decode(encode(palette, transparency=bytes([0, 128, *[255] * 6])))
    assert got.mode == "RGBA"
    assert set(np.unique(np.asarray(got.getchannel("A")))) == {0, 128, 255}
    keyed = Image.new("RGB", (2, 1), (10, 20, 30))
    keyed.putpixel((1, 0), (1, 2, 3))
    got = decode(encode(keyed, transparency=(1, 2, 3)))
    assert np.asarray(got)[0, :, 3].tolist() == [255, 0]


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    got = decode(encode(Image.fromarray(values)))
    assert got.mode == "RGB"
    assert np.asarray(got)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk():
    got = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert got.mode == "RGB"
    assert np.abs(np.asarray(got).astype(int) - (255, 0, 0)).max() < 12


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        got = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert np.asarray(got)[0, 0, :3].tolist() == [255, 0, 0]


def test_broken_data():
    whole = encode(Image.effect_noise((64, 64), 80))
    for data in (b"", b"hello", whole[:20], whole[:1000], whole[:40] + b"\0" * 1000):
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode(data)


def test_bombs_are_refused_before_they_are_unpacked():
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    for side in (8200, 10_000, 60_000):  # above our limit; above Pillow's warning; above Pillow's error
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        with pytest.raises(ValueError, match="more than 64 million pixels"):
            decode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def test_has_alpha_means_real_transparency():
    assert not has_alpha(Image.new("RGB", (2, 2)))
    assert not has_alpha(Image.new("RGBA", (2, 2), (0, 0, 0, 255)))
    assert has_alpha(Image.new("RGBA", (2, 2), (0, 0, 0, 254)))


def disc(colour, hidden, side=64):
    """A disc of one colour whose transparent surroundings hide another colour."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = np.where(((x * x + y * y) < (side * 0.4) ** 2)[..., None], colour, hidden)
    pixels[..., 3] = np.where((x * x + y * y) < (side * 0.4) ** 2, 255, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [16, 23, 64, 100])
def test_no_fringe(size):
    got = fit(disc((250, 200, 40), (0, 0, 0)), size, 4)
    # Colour and alpha are both rounded to 8 bits after multiplying, so colours are exact to about 1.5 * 255 / alpha.
    seen = got[..., 3] >= 16
    error = np.abs(got[seen][:, :3].astype(float) - (250, 200, 40)) * got[seen][:, 3:] / 255
    assert error.max() <= 1.75
    assert seen.any()
    assert (got[got[..., 3] == 0] == 0).all()
    for hidden in ((0, 0, 0), (255, 0, 255)):
        assert np.array_equal(got, fit(disc((250, 200, 40), hidden), size, 4))


def test_white_ground():
    got = fit(disc((250, 200, 40), (0, 0, 0)), 32, 3)
    assert got.shape == (32, 32, 3)
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[16, 16].tolist() == [250, 200, 40]
    assert (got >= np.array([249, 199, 39])).all()  # nothing darker than the disc: no fringe


def test_opaque_is_cropped_and_transparent_is_padded():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    assert (fit(Image.fromarray(wide), 4, 3) == 200).all()
    assert (fit(Image.fromarray(wide), 4, 4) == [200, 200, 200, 255]).all()
    alpha = np.dstack([wide, np.full((4, 12), 128, np.uint8)])
    got = fit(Image.fromarray(alpha), 12, 4)
    assert (got[:4, :, 3] == 0).all()
    assert (got[8:, :, 3] == 0).all()
    assert (got[4:8, :, 3] == 128).all()
    assert (abs(got[4:8, 4:8, :3].astype(int) - 200) <= 1).all()


def test_exact_size_is_untouched_and_halving_averages():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(fit(Image.fromarray(pixels), 8, 3), pixels)
    flat = np.full((8, 8, 3), 77, np.uint8)
    for size in (1, 3, 4, 13):
        assert (fit(Image.fromarray(flat), size, 3) == 77).all()


def test_no_halo_around_flat_colour():
    half = np.full((64, 64, 3), 60, np.uint8)
    half[:, 31:] = 180
    got = fit(Image.fromarray(half), 21, 3)
    assert got.min() == 60
    assert got.max() == 180


def test_a_long_strip_costs_no_memory():
    strip = Image.new("RGBA", (40_000, 2), (255, 0, 0, 128))
    got = fit(strip, 16, 4)
    assert got.shape == (16, 16, 4)


def test_nonsense_is_refused():
    for arguments in (
        (Image.new("L", (2, 2)), 2, 3),
        (Image.new("RGB", (2, 2)), 0, 3),
        (Image.new("RGB", (2, 2)), 2, 1),
    ):
        with pytest.raises(ValueError, match="cannot fit"):
            fit(*arguments)
