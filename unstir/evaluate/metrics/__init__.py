"""Metrics, one a file: pure functions of features, vectors or pixels; nothing here draws a picture or reads a file.

Every result is a frozen dataclass that `dataclasses.asdict` turns into JSON.
"""
