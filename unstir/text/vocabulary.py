"""The words that a model has seen, and what to say of those that it has not."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from string import ascii_lowercase

_SHORTEST = 4
"""Letters of a word that is mended: shorter ones are one slip away from too many others."""

_SUFFIXES = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without signs; an apostrophe ends a word."""
    return re.findall(r"[^\W_]+", text.lower())


def vocabulary(texts: Iterable[str], least: int = 1, most: int = 20_000) -> list[str]:
    """The distinct words of the texts that come at least so often, the most frequent first, and `most` of them."""
    counts = Counter(word for text in texts for word in words_of(text))
    often = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [word for word, count in often[:most] if count >= least]


def unknown_words(text: str, known: Sequence[str], nearest: int = 3) -> list[tuple[str, list[str]]]:
    """The words of the text that are not among the known ones, each once, with up to `nearest` similar known words.

    A plural is known if its singular is.
    """
    there = set(known)
    unknown = [word for word in dict.fromkeys(words_of(text)) if not _known(word, there)]
    return [(word, get_close_matches(word, known, nearest, 0.7)) for word in unknown]


def _known(word: str, there: Collection[str]) -> bool:
    return word in there or any(word.endswith(a) and word[: -len(a)] + b in there for a, b in _SUFFIXES)


def correct_spelling(text: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The text with its slips of the pen mended, and what was mended: as written -> as it is now.

    A slip: a word of four letters or more, not among the known ones, that one letter lost, added, changed, or swapped
    with its neighbour turns into a known word with the same first letter; of several the first among the known ones.
    """
    there = {word: place for place, word in enumerate(known)}
    mended = {}
    for word in dict.fromkeys(words_of(text)):
        if len(word) < _SHORTEST or not word.isalpha() or _known(word, there):
            continue
        meant = {other for other in _one_slip_away(word) if other[:1] == word[:1] and _known(other, there)}
        if meant:  # what is known only by its ending comes last
            mended[word] = min(meant, key=lambda other: (there.get(other, len(there)), other))
    words = re.compile("|".join(rf"(?<![^\W_]){word}(?![^\W_])" for word in mended) or "(?!)", re.IGNORECASE)
    return words.sub(lambda found: mended[found[0].lower()], text), mended


def _one_slip_away(word: str) -> set[str]:
    """Every text that one slip makes of the word. Source: Norvig 2007, "How to write a spelling corrector"."""
    parts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    lost = {a + b[1:] for a, b in parts if b}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in parts if len(b) > 1}
    changed = {a + letter + b[1:] for a, b in parts if b for letter in ascii_lowercase}
    added = {a + letter + b for a, b in parts for letter in ascii_lowercase}
    return (lost | swapped | changed | added) - {word}


def unknown_word_notes(unknown: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A sentence for each unknown word."""
    return [
        f"no picture of {word!r} was in the training words" + (f"; nearest: {', '.join(near)}" if near else "")
        for word, near in unknown
    ]
