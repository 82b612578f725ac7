"""The words that a model has seen, and what to say of those that it has not."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_SUFFIXES = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without signs; an apostrophe ends a word."""
    return re.findall(r"[^\W_]+", text.lower())


def vocabulary(texts: Iterable[str], least: int = 1) -> list[str]:
    """The distinct words of the texts that come at least so often, in alphabetical order; numbers of one digit too."""
    counts = Counter(word for text in texts for word in words_of(text))
    return sorted(word for word, count in counts.items() if count >= least)


def unknown_words(text: str, known: Sequence[str], nearest: int = 3) -> list[tuple[str, list[str]]]:
    """The words of the text that are not among the known ones, each once, with up to `nearest` similar known words.

    A plural is known if its singular is.
    """
    there = set(known)
    out = []
    for word in dict.fromkeys(words_of(text)):
        if word in there or any(word.endswith(a) and word[: -len(a)] + b in there for a, b in _SUFFIXES):
            continue
        out.append((word, get_close_matches(word, known, nearest, 0.7)))
    return out


def told(unknown: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A sentence for each unknown word."""
    return [
        f"no picture of {word!r} was in the training words" + (f"; nearest: {', '.join(near)}" if near else "")
        for word, near in unknown
    ]
