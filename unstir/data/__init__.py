"""Captioned pictures: where they lie (`sources`), what is wrong with them (`check`), and as arrays (`pictures`).

`open_source` reads three layouts; `pack` decodes each picture once; `order` says which come next in training.
Two sets are built in: `digits` (real handwriting) and `shapes` (drawn, with an exact checker in `shapes_check`).
"""
