"""The words of the training captions: which words of a prompt are not among them, and typos corrected to them."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

MAX_WORD_LETTERS = 32
"""Longer words are neither corrected nor compared with the known ones."""

_MIN_LETTERS = 4
"""Shorter words are not corrected: they are one edit away from too many others."""

_CLOSE = 0.75
"""Suggested words differ in a quarter of the letters at most."""

_WORD = re.compile(r"[^\W_]+")
_PLURALS = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; an apostrophe ends a word."""
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[str], min_count: int = 1, max_words: int = 20_000) -> list[str]:
    """The distinct words of the texts, the most frequent first.

    min_count: how often a word must occur.  max_words: how many words to keep.
    """
    counts = Counter(word for text in texts for word in words_of(text))
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [word for word, count in ranked[:max_words] if count >= min_count]


def unknown_words(text: str, known: Sequence[str], suggestions: int = 3) -> list[tuple[str, list[str]]]:
    """The words of a text that are not in the vocabulary, each once, with similar words from it.

    known: the vocabulary; a plural is known if its singular is.
    suggestions: how many similar words to give at most, the closest first. Only words that differ in a quarter of
    their letters at most count as similar; most words have none.
    """
    lookup = set(known)
    unknown = [word for word in dict.fromkeys(words_of(text)) if not _is_known(word, lookup)]
    return [(word, _similar(word, known, suggestions)) for word in unknown]


def unknown_word_notes(unknown: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A sentence for each unknown word, as `unknown_words` gives them."""
    notes = []
    for word, similar in unknown:
        shown = word if len(word) <= MAX_WORD_LETTERS else f"{word[:MAX_WORD_LETTERS]}…"
        question = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        notes.append(f"{shown!r} was not in the training captions{question}")
    return notes


def correct_spelling(text: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Correct the typos of a text.

    A typo is a word of 4 to 32 letters that is not known and becomes a known word with the same first letter by one
    edit: a letter removed, added, changed, or swapped with its neighbour.
    known: the vocabulary, most frequent word first; of several candidates the first in it is taken.
    Returns the corrected text, and the corrections by the word as it was written, in lower case.
    """
    rank = {word: number for number, word in enumerate(known)}
    corrections = {}
    for word in dict.fromkeys(words_of(text)):
        if not _MIN_LETTERS <= len(word) <= MAX_WORD_LETTERS or not word.isalpha() or _is_known(word, rank):
            continue
        candidates = _one_edit_away(word, known)
        if candidates:  # words that are known only by a plural ending come last
            corrections[word] = min(candidates, key=lambda other: (rank.get(other, len(rank)), other))
    return _WORD.sub(lambda match: corrections.get(match[0].lower(), match[0]), text), corrections


def _is_known(word: str, lookup: Collection[str]) -> bool:
    return word in lookup or any(
        word.endswith(ending) and word[: -len(ending)] + singular in lookup for ending, singular in _PLURALS
    )


def _with_plurals(word: str) -> Iterator[str]:
    """A word and all plurals by which `_is_known` knows it."""
    yield word
    for ending, singular in _PLURALS:
        if word.endswith(singular):
            yield word[: len(word) - len(singular)] + ending


def _one_edit_away(word: str, known: Sequence[str]) -> set[str]:
    """The known words and their plurals that begin like the word and are one edit away from it.

    The distance is optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count 1.
    Source: Boytsov 2011, "Indexing methods for approximate dictionary searching", 2.1.
    """
    from rapidfuzz.distance import OSA  # here, since most prompts have no typo

    same_start = (other for other in known if other.startswith(word[0]) and len(other) <= len(word) + 1)
    candidates = (form for other in same_start for form in _with_plurals(other))
    return {
        form
        for form in candidates
        if abs(len(form) - len(word)) <= 1 and form.isalpha() and OSA.distance(word, form, score_cutoff=1) == 1
    }


def _similar(word: str, known: Sequence[str], count: int) -> list[str]:
    if len(word) > MAX_WORD_LETTERS:
        return []
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    found = process.extract(word, known, scorer=OSA.normalized_similarity, limit=count, score_cutoff=_CLOSE)
    return [other for other, _, _ in found]
