import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from unstir.data import transforms
from unstir.data.transforms import decode, decode_reduced, fit, has_alpha, picture_formats


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


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("GIF", {}),
    ],
)
def test_more_kinds_of_pictures(kind, options):
    if kind not in picture_formats():
        pytest.skip(f"this Pillow reads no {kind}")
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:, 4:] = (250, 200, 40, 255)
    got = np.asarray(decode(encode(Image.fromarray(pixels), kind, **options)).convert("RGBA"))
    assert (got[:3, :3, 3] == 0).all()
    assert (abs(got[6:, 6:].astype(int) - (250, 200, 40, 255)) <= 3).all()
    turned = Image.Exif()
    turned[0x0112] = 6
    if kind != "GIF":
        assert decode(encode(gradient(16, 8), kind, exif=turned)).size == (8, 16)


def test_pages_and_depths_of_tiff():
    pages = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])).getpixel((0, 0)) == (255, 0, 0)
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert np.asarray(decode(encode(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 1, 128, 255]
    with pytest.raises(ValueError, match=r"floating-point numbers .*; save it with 8 bits"):
        decode(encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["AVIF", "WEBP"])
def test_a_kind_that_this_pillow_does_not_read_is_named(kind, monkeypatch):
    if kind not in picture_formats():
        pytest.skip(f"this Pillow writes no {kind}")
    data = encode(gradient(), kind)
    monkeypatch.setattr(transforms, "picture_formats", lambda: ("PNG", "JPEG"))
    with pytest.raises(ValueError, match=rf"this installation of Pillow reads no {kind}; convert it to PNG"):
        decode(data)


def test_formats_follow_how_pillow_was_built(monkeypatch):
    monkeypatch.delitem(features.modules, "avif", raising=False)  # as before Pillow 11.3
    monkeypatch.setitem(features.modules, "webp", ("PIL._missing", None))
    picture_formats.cache_clear()
    assert picture_formats() == ("PNG", "JPEG", "BMP", "GIF", "TIFF")
    monkeypatch.undo()
    picture_formats.cache_clear()
    assert "WEBP" in picture_formats()


# Large JPEGs at reduced scale


def photo(width, height, noise=20):
    """Something like a photograph: large structures and noise."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height), 3)
    fine = rng.integers(-noise, noise + 1, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def difference(data, size):
    """How a reduced picture differs from one decoded in full, at this size."""
    one = decode_reduced(data, size)
    assert one.image.width < one.width
    assert min(one.image.size) >= 2 * size
    assert decode(data).size == (one.width, one.height)
    return fit(one.image, size, 3, one.square).astype(int) - fit(decode(data), size, 3)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_reduced_jpeg_looks_the_same(size, mode):
    error = difference(encode(photo(1003, 701).convert(mode), "JPEG", quality=92), size)
    assert abs(error).mean() < 0.6  # of 255, where neighbours differ by 8 to 16
    assert abs(error.mean()) < 0.2


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_reduced_jpeg_is_upright_and_centred(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    for width, height in ((803, 603), (801, 606), (800, 600)):
        smooth = photo(width, height, noise=0)
        assert abs(difference(encode(smooth, "JPEG", exif=exif, subsampling=0, quality=95), 32)).mean() < 0.6


def test_only_large_jpegs_are_reduced():
    for data in (encode(photo(300, 200), "PNG"), encode(photo(120, 120), "JPEG"), encode(photo(300, 60), "JPEG")):
        got = decode_reduced(data, 32)
        assert (got.image.size, got.square) == ((got.width, got.height), None)
        assert np.array_equal(np.asarray(got.image), np.asarray(decode(data)))


def test_reduced_decoding_makes_fewer_pixels():
    image = decode_reduced(encode(photo(2400, 1600), "JPEG"), 64).image
    assert image.width * image.height <= 2400 * 1600 / 64


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


def with_alpha(side, count, alpha):
    """A noisy picture of which so many pixels have this alpha and the others 255."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels.reshape(-1, 4)[:count, 3] = alpha
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("side", "count", "alpha", "transparent"),
    [
        (100, 0, 255, False),  # an alpha channel without use
        (100, 1, 254, False),
        (100, 1, 0, False),  # a stray pixel
        (100, 10, 0, False),  # a thousandth
        (100, 11, 0, True),
        (100, 10_000, 250, False),  # rounded by an export
        (100, 10_000, 249, True),
        (1000, 900, 128, False),
        (1000, 1100, 128, True),
        (16, 4, 0, True),  # the corners of a small icon
        (16, 255, 0, True),  # a dot on nothing
    ],
)
def test_has_alpha_means_real_transparency(side, count, alpha, transparent):
    assert has_alpha(with_alpha(side, count, alpha)) == transparent
    assert not has_alpha(with_alpha(side, count, alpha).convert("RGB"))


def test_soft_edges_are_transparency():
    y, x = np.mgrid[:64, :64] - 31.5
    pixels = np.full((64, 64, 4), 90, np.uint8)
    pixels[..., 3] = (255 * (40 - np.hypot(x, y)).clip(0, 1)).astype(np.uint8)  # only the corners are cut, softly
    assert has_alpha(Image.fromarray(pixels))


def test_one_pixel_of_alpha_254_changes_nothing():
    photo = with_alpha(64, 0, 255).crop((0, 0, 64, 48))
    almost = photo.copy()
    almost.putpixel((5, 5), (*photo.getpixel((5, 5))[:3], 254))
    for channels in (3, 4):
        assert np.array_equal(fit(almost, 24, channels), fit(photo, 24, channels))
        assert np.array_equal(fit(almost, 24, channels)[..., :3], fit(photo.convert("RGB"), 24, 3))  # cropped


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


def test_large_pictures_of_any_size_are_centred():
    # Of 999 pixels blocks of 7 leave a rest of 5: it must not shift the picture.
    got = fit(photo(999, 999, noise=0), 32, 3).astype(int)
    mirrored = fit(photo(999, 999, noise=0).transpose(Image.Transpose.ROTATE_180), 32, 3)[::-1, ::-1]
    assert abs(got - mirrored).mean() < 0.6


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
