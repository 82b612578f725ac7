"""Makes a folder of 200 captioned pictures to try `unstir train` on: eight objects in eight colours.

One picture is broken and one has no caption, as happens in folders of real pictures.

    python examples/make_pictures.py pictures
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": "#d7263d",
    "orange": "#f46036",
    "yellow": "#f2c14e",
    "green": "#2e933c",
    "blue": "#2d6cdf",
    "purple": "#7b2d8b",
    "pink": "#f28ab2",
    "brown": "#8b5e34",
}
DARK, LIGHT, WOOD = "#2b2d42", "#f7f3e9", "#9c6b3f"
SIDE = 256

Draw = ImageDraw.ImageDraw


def balloon(d: Draw, colour: str) -> None:
    d.line([(128, 170), (120, 240)], fill=DARK, width=5)
    d.ellipse([64, 24, 192, 172], fill=colour)
    d.ellipse([90, 50, 116, 86], fill=LIGHT)


def fish(d: Draw, colour: str) -> None:
    d.polygon([(170, 128), (236, 76), (236, 180)], fill=colour)
    d.ellipse([24, 70, 192, 186], fill=colour)
    d.ellipse([56, 104, 80, 128], fill=LIGHT)
    d.ellipse([62, 110, 74, 122], fill=DARK)


def mushroom(d: Draw, colour: str) -> None:
    d.rounded_rectangle([100, 120, 156, 232], 20, fill=LIGHT)
    d.pieslice([30, 30, 226, 226], 180, 360, fill=colour)
    for x, y in ((80, 90), (128, 60), (170, 96)):
        d.ellipse([x - 14, y - 14, x + 14, y + 14], fill=LIGHT)


def tree(d: Draw, colour: str) -> None:
    d.rectangle([112, 160, 144, 240], fill=WOOD)
    d.ellipse([48, 16, 208, 184], fill=colour)


def house(d: Draw, colour: str) -> None:
    d.rectangle([56, 120, 200, 232], fill=LIGHT)
    d.polygon([(36, 124), (128, 32), (220, 124)], fill=colour)
    d.rectangle([112, 164, 148, 232], fill=colour)


def boat(d: Draw, colour: str) -> None:
    d.line([(124, 30), (124, 170)], fill=WOOD, width=8)
    d.polygon([(132, 36), (132, 150), (216, 150)], fill=LIGHT)
    d.polygon([(28, 168), (228, 168), (190, 224), (66, 224)], fill=colour)


def flower(d: Draw, colour: str) -> None:
    d.line([(128, 120), (128, 244)], fill="#3a7d44", width=10)
    for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False):
        x, y = 128 + 48 * np.cos(angle), 92 + 48 * np.sin(angle)
        d.ellipse([x - 34, y - 34, x + 34, y + 34], fill=colour)
    d.ellipse([102, 66, 154, 118], fill="#fde74c")


def mug(d: Draw, colour: str) -> None:
    d.arc([150, 92, 230, 180], 270, 90, fill=colour, width=18)
    d.rounded_rectangle([50, 60, 186, 220], 22, fill=colour)
    d.ellipse([58, 50, 178, 84], fill=DARK)


THINGS: tuple[Callable[[Draw, str], None], ...] = (balloon, fish, mushroom, tree, house, boat, flower, mug)


def picture(draw: Callable[[Draw, str], None], colour: str, rng: np.random.Generator) -> Image.Image:
    """One object on a transparent background, slightly rotated, shifted and scaled. 64×64 RGBA."""
    large = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    draw(ImageDraw.Draw(large), colour)
    scale = rng.uniform(0.75, 0.95)
    shift = rng.uniform(-12, 12, 2)
    turned = large.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC)
    middle = SIDE / 2
    affine = (1 / scale, 0, middle - (middle + shift[0]) / scale, 0, 1 / scale, middle - (middle + shift[1]) / scale)
    placed = turned.transform((SIDE, SIDE), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return placed.resize((64, 64), Image.Resampling.LANCZOS)


def main(folder: Path, count: int = 200, seed: int = 0) -> None:
    """Write pictures as NUMBER.png and captions as NUMBER.txt. count: how many.  seed: of rotation, shift and scale."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pairs = [(draw, colour) for draw in THINGS for colour in COLOURS]
    for i in range(count):
        draw, colour = pairs[i % len(pairs)]
        picture(draw, COLOURS[colour], rng).save(folder / f"{i:03d}.png")
        (folder / f"{i:03d}.txt").write_text(f"a {colour} {draw.__name__}\n")
    broken = folder / "017.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (folder / "042.txt").unlink()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_pictures.py FOLDER")
    main(Path(sys.argv[1]))
