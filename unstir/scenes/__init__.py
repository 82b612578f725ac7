"""Scenes composed of transparent drawings: planned, captioned, painted, and served as batches."""
