"""How good the pictures are.

The measures (frechet, kernel, manifold, halves, jackknife, bootstrap, retrieval, baseline, memory, composition), one a
file, are pure functions of features, vectors or plain pixels: nothing in them knows how features are made, reads a file
or draws from a global generator. Every result is a frozen dataclass that `dataclasses.asdict` turns into JSON.

`evaluation` puts them together for a model and captioned pictures: prompts, generation and vectors make the `material`,
`sections` tell what is found in it, and `report` puts that on a page.
"""
