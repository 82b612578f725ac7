"""The sections of a report: each takes what was gathered and gives tables, pictures and a sentence."""

from dataclasses import dataclass, field

import numpy as np

from unstir.data.shapes_scene import parse
from unstir.evaluate import beaten, copies, likelihood
from unstir.evaluate.composition import composition
from unstir.evaluate.copies import Copies
from unstir.evaluate.likelihood import Bits
from unstir.evaluate.likeness import likeness
from unstir.evaluate.material import Material, Side
from unstir.evaluate.plates import Figure, compared_plate, drawn_plate, extremes_plate, nearest_plate
from unstir.evaluate.report import Row, Table, row_of
from unstir.evaluate.rows import Indices
from unstir.evaluate.shelf import Vectors
from unstir.evaluate.vectors import RAW_SIDE, raw, scaled
from unstir.evaluate.words import BOTH, CAPTION, OF_ALL, SCORE, word_rows

_SEARCHED = 1000
"""Held-out pictures at most that tell how often the search for copies is wrong."""

_KNOWN = 0.3
"""Share of real pictures' captions that a CLIP should find, or its word counts for little."""


@dataclass
class Section:
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def words(material: Material) -> Section:
    """Whether the pictures show what was asked, for either side; and whether the baseline is beaten."""
    section = Section()
    looks = material.looks
    if looks is None:
        return section
    for side in reversed(material.sides):  # what matters most comes first
        if side.words is None:
            continue
        drawn, real = looks.drawn[side.places], looks.real[side.rows]
        nearest = None if side.nearest is None else looks.real[side.nearest]
        rows = word_rows(side.words, drawn, real, nearest)
        section.tables.append(Table(title=f"Words, {side.name} prompts", rows=rows, note=_words_note(side)))
        if nearest is not None:
            marks = [side.words.marks(pictures) for pictures in (drawn, nearest, real)]
            measures = [OF_ALL if OF_ALL in marks[0] else CAPTION, BOTH, SCORE]
            apart = beaten.against(marks[0], marks[1], side.words.groups, measures)
            section.tables.append(
                Table(
                    title="Against the nearest-text baseline",
                    rows=beaten.rows(apart),
                    note="Prompt by prompt, model less baseline: above zero the model is better.",
                )
            )
            section.sentences += [
                beaten.sentence(apart),
                beaten.warning(beaten.against(marks[1], marks[2], side.words.groups, measures)),
                _truth(material, side),
            ]
        section.sentences.append(_judge(side, real))
    section.figures.append(_extremes(material))
    section.sentences = [one for one in section.sentences if one]
    return section


def _words_note(side: Side) -> str:
    assert side.words is not None
    asked, of_all = len(side.words.captions.texts), side.words.banks.get("caption {} of all")
    everything = "" if of_all is None else f", and among all {len(of_all.texts)} of the data"
    note = (
        f"{len(side.places)} pictures, as a CLIP sees them. Captions are searched among the {asked} asked{everything}. "
        "The ceiling is what the real pictures of these captions reach"
    )
    if side.nearest is None:
        return note + "."
    return note + "; the baseline draws nothing and gives the training picture whose caption is nearest."


def _truth(material: Material, side: Side) -> str:
    """What the baseline's pictures show, as their metadata say; "" where these do not."""
    assert side.nearest is not None
    told = [
        [(meta.get("name"), meta.get("phrase")) for meta in (material.real.pictures.meta[row] for row in rows)]
        for rows in (side.rows, side.nearest)
    ]
    if not all(isinstance(word, str) for pairs in told for pair in pairs for word in pair):
        return ""
    same = np.array([[a == b for a, b in zip(*both, strict=True)] for both in zip(*told, strict=True)])
    concept, style, whole = (f"{100 * share:.0f} %" for share in (*same.mean(axis=0), same.all(axis=1).mean()))
    return (
        f"By their metadata the baseline's pictures show the right concept in {concept} of the prompts, "
        f"the right style in {style}, both in {whole}."
    )


def _judge(side: Side, real: Vectors) -> str:
    """A warning where the CLIP does not know even the real pictures."""
    assert side.words is not None
    found = side.words.marks(real).get(CAPTION)
    if found is None or found.mean() >= _KNOWN:
        return ""
    return (
        f"This CLIP hardly knows such pictures: it finds the captions of {100 * found.mean():.0f} % of the real "
        f"{side.name} ones, so what it says of words counts for little."
    )


def _extremes(material: Material) -> Figure:
    scores = np.zeros(len(material.pixels))
    for side in material.sides:
        if side.words is not None and material.looks is not None:
            scores[side.places] = side.words.marks(material.looks.drawn[side.places])[SCORE]
    words = "Best and worst of all pictures by their CLIP score, which is told after the caption."
    return extremes_plate(material.pixels, material.captions, scores, words)


def drawn(material: Material) -> Section:
    """Pictures as they come, none chosen."""
    section = Section()
    for side in reversed(material.sides):
        pixels, captions = material.pixels[side.places], material.captions_of(side)
        if not side.held_out:
            words = "Drawn for captions seen in training; the first ones, none chosen."
            section.figures.append(drawn_plate(pixels, captions, words))
            continue
        kinds = [("drawn", pixels), ("real", material.real.pictures.pixels[side.rows])]
        words = "Held-out prompts, none chosen: what was drawn, and the real picture that training never showed"
        if side.nearest is not None:
            kinds.append(("nearest text", material.real.pictures.pixels[side.nearest]))
            words += ", and the training picture with the nearest caption, which is the baseline"
        section.figures.append(compared_plate(kinds, captions, f"{words}."))
    return section


def distances(material: Material, features: str) -> Section:
    """Distances of sets for either side. features: "clip" or "raw"."""
    section = Section()
    pictures = material.real.pictures
    for side in reversed(material.sides):
        others = side.others[: 2 * len(side.places)]
        if features == "clip" and material.looks is not None:
            real, made, kind = material.looks.real[others], material.looks.drawn[side.places], "CLIP's vectors"
            real, made = scaled(real), scaled(made)
        else:
            real, made, kind = raw(pictures.pixels[others]), raw(material.pixels[side.places]), "reduced pixels"
        groups = material.groups_of(others), material.groups_of(side.rows)
        rows, count = likeness(real, made, *groups, seed=material.seed)
        if rows:
            note = (
                f"On {kind}, {count} pictures on each side. The floor is what as many real pictures differ by from "
                "real ones: for the first two lower is better, and for the others higher, up to the floor."
            )
            section.tables.append(Table(title=f"Likeness, {side.name} prompts", rows=rows, note=note))
            section.sentences.append(_likeness(side, rows[0], count))
    section.sentences = [one for one in section.sentences[:1] if one]  # of the side that matters most
    return section


def _likeness(side: Side, row: Row, count: int) -> str:
    """Whether a set of pictures can be told from real ones; "" where no interval says so."""
    value, floor, bounds = row["value"], row.get("floor"), row.get("interval")
    if value is None or floor is None or bounds is None:
        return ""
    tells = "tells" if bounds[0] > floor else "does not tell"
    return (
        f"With {count} pictures a side, the {row['name']} {tells} those drawn for {side.name} prompts from real ones "
        f"({value:.3g}, floor {floor:.3g})."
    )


def memory(material: Material) -> Section:
    """Whether training pictures are copied."""
    pictures, seen, last = material.real.pictures, material.real.split.seen, material.sides[-1]
    out = np.concatenate([last.rows, last.others])[:_SEARCHED] if last.held_out else seen[:0]
    groups = material.groups_of(seen)
    plain = raw(pictures.pixels)
    sides = {side.name: side.places for side in reversed(material.sides)}
    found = [copies.copies("pixels", raw(material.pixels), plain[out], plain[seen], groups, sides)]
    if material.looks is not None:
        real = material.looks.real
        found.append(copies.copies("CLIP", material.looks.drawn, real[out], real[seen], groups, sides))
    known = [one for one in found if one is not None]
    if not known:
        return Section()
    rows: list[Row] = [row for one in known for row in one.rows()]
    note = (
        f"Each picture against {len(seen)} training pictures. A copy is less than a third as far from its nearest one "
        "as from the next that shows something else"
    )
    note += "; the floor is how many real held-out pictures are flagged by mistake." if len(out) else "."
    table = Table(title="Memory", rows=rows, note=note)
    return Section([table], [_nearest(material, seen, known[0])], [copies.sentence(known)])


def _nearest(material: Material, seen: Indices, found: Copies) -> Figure:
    pixels = material.real.pictures.pixels
    near = [[np.asarray(pixels[seen[row]]) for row in rows] for rows in found.nearest]
    words = (
        f"The pictures most like a copy, by {RAW_SIDE} px {found.by}, above their nearest training pictures. "
        "Ratio: distance to the nearest, over distance to the next that shows something else."
    )
    return nearest_plate(material.pixels, near, found.ratios, words)


def shapes(material: Material) -> Section:
    """What an exact reader finds in pictures of the built-in shapes."""
    if material.real.built_in != "shapes":
        return Section()
    found = composition(list(material.pixels), [parse(caption) for caption in material.captions])
    section = Section()
    for name, lines in (("held-out", found.held_out), ("seen", found.as_trained)):
        if lines:
            rows = [row_of(line, one) for line, one in lines.items()]
            note = "Shares of the pictures that an exact reader finds right; of binding, colours on the right forms."
            section.tables.append(Table(title=f"Composition, {name} combinations", rows=rows, note=note))
    if "right" in found.held_out:
        right = {"held-out": found.held_out["right"], "seen": found.as_trained["right"]}
        told = " and ".join(f"{100 * one.value:.0f} % of {one.total} {name}" for name, one in right.items())
        section.sentences.append(f"An exact reader finds all of the caption in {told} scenes.")
    return section


def bits(material: Material, measure: Bits) -> Section:
    """The bound on the likelihood of a few real pictures of either side."""
    rows = []
    for side in reversed(material.sides):
        chosen = material.real.pictures.take(side.rows[: likelihood.COUNT])
        bound = measure(chosen, [material.seed + i for i in range(len(chosen))])
        rows.append(likelihood.row(f"{side.name} pictures", bound))
    note = (
        f"At most so many bits for each number of {likelihood.COUNT} real pictures, given their captions; noise that "
        "knows nothing needs 8. Held-out pictures that need far more than seen ones tell of learning by heart."
    )
    return Section([Table(title="Likelihood, bits per number", rows=rows, note=note)])
