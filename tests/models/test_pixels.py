import numpy as np
import torch

from unstir.models.pixels import to_model, to_pixels


def every_pair():
    """Every colour at every alpha: (1, 256, 256, 4) with the colour along the row and alpha down the column."""
    colour, alpha = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="xy")
    return torch.stack([colour, 255 - colour, colour // 2, alpha], dim=-1)[None].to(torch.uint8)


def test_opaque_pictures_come_back_exactly():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_pixels(to_model(pixels)), pixels)
    with_alpha = torch.cat([pixels, torch.full((1, 16, 16, 1), 255, dtype=torch.uint8)], dim=-1)
    assert torch.equal(to_pixels(to_model(with_alpha)), with_alpha)


def test_every_colour_at_every_alpha_comes_back_exactly_while_it_is_float32():
    """Dividing by alpha multiplies an error of 6e-8 by 255 at most: far below half of 1/255."""
    pixels = every_pair()
    back = to_pixels(to_model(pixels))
    visible = pixels[..., 3] > 0
    assert torch.equal(back[visible], pixels[visible])
    assert (back[~visible] == 0).all()


def test_premultiplied_pixels_stored_in_8_bits_come_back_within_rounding():
    """A premultiplied value rounded to 1/255 is off by 1/510 at most, and by 1/alpha as much after dividing."""
    pixels = every_pair()
    rounded = (to_model(pixels) + 1).mul(127.5).round() / 127.5 - 1
    back = to_pixels(rounded)
    alpha = pixels[..., 3:].double().clamp(min=1) / 255
    error = (back[..., :3].double() - pixels[..., :3].double()).abs()
    assert (error <= 0.5 / alpha + 0.5)[pixels[..., 3] > 0].all()
    assert torch.equal(back[..., 3], pixels[..., 3])


def test_premultiplied_against_the_definition():
    pixels = torch.tensor([[[[255, 128, 0, 51], [10, 20, 30, 0]]]], dtype=torch.uint8)
    x = to_model(pixels)
    assert x.shape == (1, 4, 1, 2)
    assert x.dtype == torch.float32
    expected = np.array([0.2, 128 / 255 * 0.2, 0, 0.2]) * 2 - 1
    np.testing.assert_allclose(x[0, :, 0, 0], expected, atol=1e-6)
    assert (x[0, :, 0, 1] == -1).all()


def test_what_is_out_of_range_is_clipped():
    x = torch.tensor([-9.0, 9.0, 0.0]).reshape(1, 3, 1, 1)
    assert to_pixels(x).flatten().tolist() == [0, 255, 128]
    # A colour brighter than its alpha allows is as bright as can be, not wrapped around.
    x = torch.tensor([1.0, 0.0, -1.0, 0.0]).reshape(1, 4, 1, 1)
    assert to_pixels(x).flatten().tolist() == [255, 255, 0, 128]


def test_where_alpha_rounds_to_0_the_colour_is_0():
    alpha = torch.cat([torch.linspace(0, 2 / 255, 4001), torch.tensor([0.5 / 255, 1.5 / 255])])
    x = torch.full((1, 4, 1, len(alpha)), 1.0)
    x[0, 3, 0] = alpha * 2 - 1
    pixels = to_pixels(x)[0, 0]
    assert (pixels[pixels[:, 3] == 0] == 0).all()
    assert (pixels[pixels[:, 3] > 0][:, :3] == 255).all()


def test_any_float_gives_contiguous_uint8():
    x = torch.linspace(-1, 1, 3 * 4 * 5).reshape(1, 3, 4, 5)
    for dtype in (torch.bfloat16, torch.float64):
        pixels = to_pixels(x.to(dtype))
        assert pixels.shape == (1, 4, 5, 3)
        assert pixels.dtype == torch.uint8
        assert pixels.is_contiguous()
