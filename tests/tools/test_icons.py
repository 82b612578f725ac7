"""The converter, on miniature clones with the layouts of the real repositories and drawings of our own."""

import io
import json
import re
import shlex
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tools.icons.convert import REPOSITORIES, convert, main
from tools.icons.styles import STYLES
from unstir.data.sources import open_source
from unstir.errors import UserError
from unstir.recipes.icons_data import split_cells

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}"><rect width="{0}" height="{1}" fill="{2}"/></svg>'

EMOJI_TEST = """\
# group: Smileys & Emotion
2764 FE0F              ; fully-qualified     # ❤️ E0.6 Red Heart
2764                   ; unqualified         # ❤ E0.6 Red Heart
# group: People & Body
1F468 200D 1F680       ; fully-qualified     # 👨‍🚀 E4.0 man astronaut
1F468 1F3FB 200D 1F680 ; fully-qualified     # 👨🏻‍🚀 E4.0 man astronaut: light skin tone
# group: Component
1F9B0                  ; component           # 🦰 E11.0 red hair
# group: Symbols
0038 FE0F 20E3         ; fully-qualified     # 8️⃣ keycap: 8
# group: Flags
1F1E7 1F1EA            ; fully-qualified     # 🇧🇪 E2.0 flag: Belgium
"""

ANNOTATIONS = """\
<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">
<ldml><annotations>
<annotation cp="❤">heart | Love | red heart</annotation>
<annotation cp="❤" type="tts">red heart</annotation>
<annotation cp="🍎">apple | fruit | red apple</annotation>
<annotation cp="🍎" type="tts">red apple</annotation>
<annotation cp="👨🏻" type="tts">man: light skin tone</annotation>
</annotations></ldml>
"""

CATALOGUE = """\
export const icons = (<const>[
  {
    name: "acorn",
    pascal_name: "Acorn",
    alias: { name: "nut", pascal_name: "Nut" },
    tags: ["*new*", "Savings", "acorn", "[nut]", "with \\"quotes\\""],
    codepoint: 1,
  },
  { name: "apple-logo", pascal_name: "AppleLogo", tags: ["logos"], codepoint: 2 },
"""


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def svg(colour="#336699", width=8, height=8):
    return SVG.format(width, height, colour)


def png(colour="red", size=(40, 40)):
    file = io.BytesIO()
    Image.new("RGBA", size, colour).save(file, "PNG")
    return file.getvalue()


def fluent_emoji(clone, name, unicode, group="Objects", keywords=(), default=False):
    folder = clone / "assets" / name
    meta = {"cldr": name, "tts": name, "unicode": unicode, "group": group, "keywords": list(keywords)}
    write(folder / "metadata.json", json.dumps(meta))
    inner = folder / "Default" if default else folder
    write(inner / "3D" / "x_3d.png", png())
    for style in ("Color", "Flat", "High Contrast"):
        write(inner / style / f"x_{style}.svg", svg())
    if default:
        write(folder / "Dark" / "Flat" / "x_flat_dark.svg", svg())


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    """A fake resvg-py: fills the picture with the colour of the first rectangle."""

    def svg_to_bytes(svg_string, width, height, skip_system_fonts):
        assert skip_system_fonts
        found = re.search(r'viewBox="0 0 (\d+) (\d+)".*fill="([^"]+)"', svg_string)
        if not found:
            raise ValueError("broken SVG")
        wide, high = int(found[1]), int(found[2])
        scale = min(width / wide, height / high)
        return png((0, 0, 0, 0) if found[3] == "none" else found[3], (round(wide * scale), round(high * scale)))

    monkeypatch.setitem(sys.modules, "resvg_py", SimpleNamespace(svg_to_bytes=svg_to_bytes))


@pytest.fixture
def lists(tmp_path):
    write(tmp_path / "emoji-test.txt", EMOJI_TEST)
    write(tmp_path / "en.xml", ANNOTATIONS)
    return {"emoji_test": tmp_path / "emoji-test.txt", "annotations": [tmp_path / "en.xml"]}


def converted(tmp_path, clones, **options):
    """The entries of the shards by key, and the report."""
    report = convert(tmp_path / "out", clones, say=lambda _: None, **options)
    source = open_source(tmp_path / "out")
    assert source.problems == []
    return {entry.key: entry for entry in source.entries}, report


def pixels(entry):
    with Image.open(io.BytesIO(entry.read())) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGBA"))


def test_fluent_has_four_styles_and_the_person_without_a_skin_tone(tmp_path):
    clone = tmp_path / "fluentui-emoji"
    fluent_emoji(clone, "A button (Blood type)", "1f170 fe0f", "Symbols", ["Blood type", "a", "A button (blood type)"])
    fluent_emoji(clone, "Man astronaut", "1f468 200d 1f680", "People & Body", default=True)
    entries, report = converted(tmp_path, {"fluent": clone})
    styles = ("fluent-3d", "fluent-color", "fluent-flat", "fluent-high-contrast")
    assert sorted(entries) == sorted(f"{s}/{k}" for s in styles for k in ("1f170", "1f468-200d-1f680"))
    assert report.written == dict.fromkeys(styles, 2)
    assert report.problems == ()
    entry = entries["fluent-color/1f170"]
    assert entry.caption == "a button (blood type), fluent gradient"
    assert entry.meta == {
        "concept": "emoji:1f170",
        "name": "a button (blood type)",
        "tags": ["a", "blood type"],
        "group": "Symbols",
        "kind": "emoji",
        "style": "fluent-color",
        "family": "fluent",
        "phrase": "fluent gradient",
        "licence": "MIT",
        "source": "Microsoft Fluent Emoji",
    }
    assert pixels(entry).shape == (128, 128, 4)


def test_fluent_that_cannot_be_read_or_drawn_is_named(tmp_path):
    clone = tmp_path / "fluentui-emoji"
    fluent_emoji(clone, "Anvil", "1f528")
    write(clone / "assets" / "Broken" / "metadata.json", "{")
    write(clone / "assets" / "Nameless" / "metadata.json", "{}")
    write(clone / "assets" / "Anvil" / "Flat" / "x_Flat.svg", "no picture")
    fluent_emoji(clone, "Ball", "26bd")
    write(clone / "assets" / "Ball" / "Color" / "x_Color.svg", svg("none"))
    (clone / "assets" / "Ball" / "3D" / "x_3d.png").unlink()
    entries, report = converted(tmp_path, {"fluent": clone})
    assert {key for key in entries if "1f528" in key} == {
        "fluent-3d/1f528",
        "fluent-color/1f528",
        "fluent-high-contrast/1f528",
    }
    assert report.left_out == {"not drawn in fluent-3d": 1}
    assert len(report.problems) == 4
    text = "\n".join(report.lines())
    for part in ("Broken", "Nameless", "cannot be rendered (broken SVG)", "fully transparent"):
        assert part in text


def test_noto_takes_its_svg_and_leaves_out_tones_keyboard_signs_and_the_unnamed(tmp_path, lists):
    clone = tmp_path / "noto-emoji"
    for name in (
        "u2764",
        "u1f468_200d_1f680",
        "u1f468_1f3fb_200d_1f680",
        "u0038",
        "u0038_20e3",
        "u1f9b0",
        "u1f1e7",
        "ue50a",
    ):
        write(clone / "svg" / f"emoji_{name}.svg", svg())
    write(clone / "svg" / "dodo.svg", svg())
    write(clone / "png" / "128" / "emoji_u2764.png", png())
    write(clone / "third_party" / "region-flags" / "waved-svg" / "emoji_u1f1e7_1f1ea.svg", svg())
    entries, report = converted(tmp_path, {"noto": clone}, **lists)
    words = {key: (entry.meta["name"], entry.meta["tags"], entry.meta["group"]) for key, entry in entries.items()}
    assert words == {
        "noto/2764": ("red heart", ["heart", "love"], "Smileys & Emotion"),
        "noto/1f468-200d-1f680": ("man astronaut", [], "People & Body"),
        "noto/38-20e3": ("keycap: 8", [], "Symbols"),
        "noto/1f9b0": ("red hair", [], None),
        "noto/1f1e7": ("regional indicator b", [], None),
    }
    assert report.left_out == {"with a skin tone": 1, "digits and signs without their keycap": 1}
    assert report.unnamed == ("e50a",)
    assert "without a known name (e50a)" in "\n".join(report.lines())


def test_noto_without_svg_takes_its_png_and_needs_no_renderer(tmp_path, lists, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    clone = tmp_path / "noto-emoji"
    write(clone / "png" / "128" / "emoji_u1F468_200d_1f680.png", png((0, 0, 255, 255), (136, 68)))
    entries, _ = converted(tmp_path, {"noto": clone}, **lists)
    picture = pixels(entries["noto/1f468-200d-1f680"])
    assert picture.shape == (128, 128, 4)
    assert picture[64, 64, 2] > 240
    assert (picture[:32, :, 3] == 0).all()
    assert (picture[33:95, :, 3] == 255).all()


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("blob", ("svg/emoji_u2764.svg", "svg/emoji_u1f1e7_1f1ea.svg")),
        ("blob", ("packages/svgmoji__blob/svg/2764-FE0F.svg", "packages/svgmoji__blob/svg/1F1E7-1F1EA.svg")),
        ("twemoji", ("assets/svg/2764.svg", "assets/svg/1f1e7-1f1ea.svg")),
        ("twemoji", ("packages/svgmoji__twemoji/svg/2764.svg", "packages/svgmoji__twemoji/svg/1F1E7-1F1EA.svg")),
        ("twemoji", ("assets/72x72/2764.png", "assets/72x72/1f1e7-1f1ea.png")),
        ("emojitwo", ("svg/2764.svg", "svg/1f1e7-1f1ea.svg")),
    ],
)
def test_files_named_by_code_points(tmp_path, lists, name, paths):
    for path in paths:
        write(tmp_path / "clone" / path, png() if path.endswith("png") else svg())
    entries, report = converted(tmp_path, {name: tmp_path / "clone"}, **lists)
    assert set(entries) == {f"{name}/2764", f"{name}/1f1e7-1f1ea"}
    assert entries[f"{name}/1f1e7-1f1ea"].meta["name"] == "flag: belgium"
    assert entries[f"{name}/1f1e7-1f1ea"].meta["group"] == "Flags"
    assert report.problems == ()


def test_one_emoji_under_two_names_is_a_problem(tmp_path, lists):
    write(tmp_path / "clone" / "assets" / "svg" / "2764.svg", svg("#ff0000"))
    write(tmp_path / "clone" / "assets" / "svg" / "2764-fe0f.svg", svg("#00ff00"))
    _, report = converted(tmp_path, {"twemoji": tmp_path / "clone"}, **lists)
    assert report.written == {"twemoji": 1}
    assert "twemoji has 2764 already" in report.problems[0]


def test_emojitwo_has_colour_and_ink(tmp_path, lists):
    write(tmp_path / "clone" / "svg" / "2764.svg", svg("#c81e32"))
    write(tmp_path / "clone" / "svg_bw" / "2764.svg", svg("#000000"))
    entries, _ = converted(tmp_path, {"emojitwo": tmp_path / "clone"}, **lists)
    assert {key: entry.meta["phrase"] for key, entry in entries.items()} == {
        "emojitwo/2764": "emojitwo",
        "emojitwo-outline/2764": "outline",
    }
    assert b"VP8L" in entries["emojitwo-outline/2764"].read()[:16]  # ink is kept exactly
    assert b"VP8L" not in entries["emojitwo/2764"].read()[:16]


def test_fxemoji_takes_complete_drawings_only(tmp_path, lists):
    folder = tmp_path / "clone" / "svgs" / "FirefoxEmoji"
    for name in (
        "u2764-heavyheart",
        "u2764.layer1",
        "u1F1E7-belgianflag",
        "u1F1E7-regionalindicatorB",
        "u0038-eight_keycap",
    ):
        write(folder / f"{name}.svg", svg())
    entries, report = converted(tmp_path, {"fxemoji": tmp_path / "clone"}, **lists)
    assert {key: entry.caption for key, entry in entries.items()} == {
        "fxemoji/2764": "red heart, firefox",
        "fxemoji/1f1e7": "regional indicator b, firefox",
    }
    assert report.left_out == {"flags under one letter": 1, "digits and signs without their keycap": 1}


def test_phosphor_has_four_weights_with_tags_from_its_catalogue(tmp_path):
    clone = tmp_path / "core"
    write(clone / "src" / "icons.ts", CATALOGUE)
    for weight in ("thin", "light", "bold", "fill", "duotone"):
        for icon in ("acorn", "apple-logo", "bell-simple"):
            write(clone / "assets" / weight / f"{icon}-{weight}.svg", svg())
    write(clone / "assets" / "regular" / "acorn.svg", svg())
    entries, report = converted(tmp_path, {"phosphor": clone})
    weights = ("light", "bold", "fill", "duotone")
    assert report.written == {f"phosphor-{weight}": 2 for weight in weights}
    assert report.left_out == {"brand logos": 4}
    assert entries["phosphor-light/acorn"].meta["concept"] == "icon:acorn"
    assert entries["phosphor-light/acorn"].meta["tags"] == ["savings", "[nut]", 'with "quotes"']
    assert entries["phosphor-bold/bell-simple"].caption == "bell simple, phosphor bold line icon"


def test_lucide_has_tags_and_a_category(tmp_path):
    clone = tmp_path / "lucide" / "icons"
    write(clone / "a-arrow-down.svg", svg())
    write(
        clone / "a-arrow-down.json", json.dumps({"tags": ["Letter", "a arrow down"], "categories": ["text", "design"]})
    )
    write(clone / "old.svg", svg())
    write(clone / "old.json", json.dumps({"tags": [], "categories": [], "deprecated": True}))
    write(clone / "bare.svg", svg())
    write(clone / "broken.svg", svg())
    write(clone / "broken.json", "[")
    entries, report = converted(tmp_path, {"lucide": tmp_path / "lucide"})
    assert set(entries) == {"lucide/a-arrow-down", "lucide/bare", "lucide/broken"}
    meta = entries["lucide/a-arrow-down"].meta
    assert (meta["name"], meta["tags"], meta["group"], meta["licence"]) == ("a arrow down", ["letter"], "text", "ISC")
    assert report.left_out == {"deprecated icons": 1}
    assert len(report.problems) == 1


def test_material_has_aliases_and_tags_and_no_brands(tmp_path):
    clone = tmp_path / "MaterialDesign-SVG"
    rows = [
        {"name": "book-plus", "aliases": ["book-add", "book-plus"], "tags": ["Edit / Modify", "Education"]},
        {"name": "firm", "aliases": [], "tags": ["Brand / Logo"]},
        {"name": "old", "aliases": [], "tags": [], "deprecated": True},
        {"name": "gone", "aliases": [], "tags": []},
        {"id": "no name"},
    ]
    write(clone / "meta.json", json.dumps(rows))
    for name in ("book-plus", "firm", "old"):
        write(clone / "svg" / f"{name}.svg", svg())
    entries, report = converted(tmp_path, {"material": clone})
    assert set(entries) == {"material/book-plus"}
    assert entries["material/book-plus"].meta["tags"] == ["book add", "edit / modify", "education"]
    assert entries["material/book-plus"].meta["group"] == "Edit / Modify"
    assert report.left_out == {"brand logos": 1, "deprecated icons": 1}
    assert len(report.problems) == 2


def test_same_clone_same_bytes_and_nothing_of_this_machine(tmp_path, lists):
    for name, order in (("one", ("2764", "1f9b0")), ("two", ("1f9b0", "2764"))):
        for code in order:
            write(tmp_path / name / "svg" / f"{code}.svg", svg())
        convert(tmp_path / f"out-{name}", {"emojitwo": tmp_path / name}, say=lambda _: None, **lists)
    shards = [tmp_path / f"out-{name}" / "emojitwo.tar" for name in ("one", "two")]
    assert shards[0].read_bytes() == shards[1].read_bytes()
    with tarfile.open(shards[0]) as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:3]] == [
        f"emojitwo/1f9b0.{extension}" for extension in ("webp", "txt", "json")
    ]
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_the_fluent_metadata_names_the_others_and_decides_first(tmp_path, lists):
    fluent_emoji(tmp_path / "fluent", "red heart", "2764 fe0f", "Smileys & Emotion", ["heart", "beloved"])
    write(tmp_path / "noto" / "svg" / "emoji_u2764.svg", svg())
    write(tmp_path / "noto" / "svg" / "emoji_u1f34e.svg", svg())
    entries, report = converted(tmp_path, {"noto": tmp_path / "noto", "fluent": tmp_path / "fluent"})
    assert entries["noto/2764"].meta["tags"] == ["beloved", "heart"]
    assert report.unnamed == ("1f34e",)
    entries, report = converted(tmp_path, {"noto": tmp_path / "noto", "fluent": tmp_path / "fluent"}, **lists)
    assert entries["noto/2764"].meta["tags"] == ["beloved", "heart"]
    assert entries["noto/1f34e"].meta["tags"] == ["apple", "fruit"]
    assert report.unnamed == ()


def test_the_recipe_can_split_what_is_written(tmp_path, lists):
    write(tmp_path / "clone" / "svg" / "emoji_u2764.svg", svg())
    entries, _ = converted(tmp_path, {"noto": tmp_path / "clone"}, **lists)
    train, held = split_cells([entry.meta for entry in entries.values()])
    assert (len(train), len(held)) == (1, 0)


def test_size(tmp_path, lists):
    write(tmp_path / "clone" / "svg" / "emoji_u2764.svg", svg(width=8, height=4))
    entries, _ = converted(tmp_path, {"noto": tmp_path / "clone"}, size=32, **lists)
    picture = pixels(entries["noto/2764"])
    assert picture.shape == (32, 32, 4)
    assert (picture[:8, :, 3] == 0).all()
    assert (picture[8:24, :, 3] == 255).all()


def test_a_failed_style_writes_no_file_and_leaves_the_old_one(tmp_path, lists):
    write(tmp_path / "clone" / "svg" / "emoji_u2764.svg", "no picture")
    write(tmp_path / "out" / "noto.tar", b"older")
    report = convert(tmp_path / "out", {"noto": tmp_path / "clone"}, say=lambda _: None, **lists)
    assert report.written == {}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["noto.tar"]
    assert (tmp_path / "out" / "noto.tar").read_bytes() == b"older"
    assert "is not written" in report.problems[-1]


def test_bad_input_is_one_sentence(tmp_path, lists, capsys, monkeypatch):
    out = str(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "file", b"\xff")
    write(tmp_path / "noto" / "svg" / "emoji_u2764.svg", svg())
    empty, noto, file = (str(tmp_path / name) for name in ("empty", "noto", "file"))
    names = ["--emoji-test", str(lists["emoji_test"])]
    for arguments, words in (
        ([out], "Nothing to convert"),
        ([out, "--noto", str(tmp_path / "nowhere")], "clone https://github.com/googlefonts/noto-emoji there"),
        ([out, "--noto", file], "There is no folder"),
        ([out, "--noto", noto], "give --emoji-test"),
        ([out, "--noto", noto, "--emoji-test", str(tmp_path / "nowhere")], "cannot be read as text"),
        ([out, "--noto", noto, "--emoji-test", file], "cannot be read as text"),
        ([out, "--noto", noto, "--emoji-test", str(lists["annotations"][0])], "is not an emoji-test.txt"),
        ([out, "--noto", noto, *names, "--annotations", str(lists["emoji_test"])], "is not XML"),
        ([out, "--noto", noto, *names, "--size", "4"], "--size must be"),
        ([out, "--noto", empty, *names], "is it a clone of"),
        ([out, "--fluent", empty], "is it a clone of"),
        ([out, "--phosphor", empty], "icons.ts cannot be read"),
        ([out, "--material", empty], "meta.json cannot be read"),
        ([out, "--lucide", empty], "is it a clone of"),
        ([file, "--noto", noto, *names], "is a file"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert words in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert main([out, "--noto", noto, *names]) == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, lists, capsys):
    write(tmp_path / "noto" / "svg" / "emoji_u2764.svg", svg())
    out = tmp_path / "out"
    arguments = [str(out), "--noto", str(tmp_path / "noto"), "--emoji-test", str(lists["emoji_test"])]
    assert main([*arguments, "--annotations", *map(str, lists["annotations"])]) == 0
    assert capsys.readouterr().out == f"{out / 'noto.tar'}: 1 drawing(s)\n1 drawing(s) in 1 style(s)\n"


def test_the_command_of_the_page_is_understood(tmp_path, capsys, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "icons.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^(?:\.venv/bin/)?python -m tools\.icons\.convert (.*)", page, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 2
    assert "There is no folder clones/fluentui-emoji" in capsys.readouterr().err


def test_every_style_has_a_repository_and_the_ids_are_unique():
    assert len({style.id for style in STYLES}) == len(STYLES) == 16
    assert len({style.phrase for style in STYLES}) == 16
    assert (
        {"fluent", "noto", "twemoji", "fxemoji", "emojitwo", "phosphor", "lucide", "material"}
        == {style.family for style in STYLES}
        == REPOSITORIES.keys() - {"blob"}
    )


def test_unwritable_out(tmp_path, lists, monkeypatch):
    write(tmp_path / "noto" / "svg" / "emoji_u2764.svg", svg())

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools.icons.convert.write_style", no_space)
    with pytest.raises(UserError, match="No space left"):
        convert(tmp_path / "out", {"noto": tmp_path / "noto"}, **lists)


def test_real_rendering(tmp_path, lists, monkeypatch):
    monkeypatch.delitem(sys.modules, "resvg_py")
    pytest.importorskip("resvg_py")
    line = (
        svg(width=24, height=12).partition("<rect")[0]
        + '<path d="M2 6h20" stroke="currentColor" stroke-width="2"/></svg>'
    )
    write(tmp_path / "lucide" / "icons" / "line.svg", line)
    latin = b'<?xml version="1.0" encoding="iso-8859-1"?><!-- \xe9 -->' + svg("#ff0000", 512, 512).encode()
    write(tmp_path / "fx" / "svgs" / "FirefoxEmoji" / "u2764-heart.svg", latin)
    entries, report = converted(tmp_path, {"lucide": tmp_path / "lucide", "fxemoji": tmp_path / "fx"}, **lists)
    assert report.problems == ()
    line = pixels(entries["lucide/line"])
    assert tuple(line[64, 64]) == (0, 0, 0, 255)
    assert line[50, 64, 3] == line[64, 4, 3] == 0
    assert abs(pixels(entries["fxemoji/2764"]).astype(int) - (255, 0, 0, 255)).max() < 6
