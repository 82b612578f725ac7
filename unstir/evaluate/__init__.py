"""How good the pictures are: one measure a file, each a pure function of features, vectors or plain pixels.

Nothing here knows how features are made, reads a file or draws from a global generator; the same input gives the same
numbers. Every result is a frozen dataclass that `dataclasses.asdict` turns into JSON. `report` puts them on a page.
"""
