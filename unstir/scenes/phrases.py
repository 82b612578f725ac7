"""How one says things: plurals, numbers, articles, and the slips of a hurried hand."""

import re

import numpy as np

NUMBERS = ("", "one", "two", "three", "four")

_IRREGULAR = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "foot": "feet", "tooth": "teeth",
    "mouse": "mice", "goose": "geese", "leaf": "leaves", "knife": "knives", "wolf": "wolves", "loaf": "loaves",
    "scarf": "scarves", "shelf": "shelves", "half": "halves", "die": "dice", "potato": "potatoes", "tomato": "tomatoes",
    "mosquito": "mosquitoes", "volcano": "volcanoes", "cactus": "cactuses", "ox": "oxen",
}  # fmt: skip
_SAME = {"fish", "sheep", "deer", "shrimp", "dice", "glasses", "scissors", "jeans", "chopsticks", "rice", "bread"}
_BEFORE = re.compile(r" (of|with|in|on|at|to|and|for) ")


def plural(name: str) -> str:
    """The plural of a thing's name: "red apple" -> "red apples", "slice of pizza" -> "slices of pizza"."""
    found = _BEFORE.search(name)
    head, rest = (name[: found.start()], name[found.start() :]) if found else (name, "")
    first, space, last = head.rpartition(" ")
    return f"{first}{space}{_plural(last)}{rest}"


def _plural(word: str) -> str:
    if word in _SAME or (word.endswith(("ss", "s")) and not word.endswith(("ss", "us", "is"))):
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word + "s"


def with_article(name: str) -> str:
    """ "apple" -> "an apple"."""
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def misspelt(text: str, rng: np.random.Generator) -> str:
    """The text with one slip in one of its longer words: a letter lost, doubled, swapped with the next, or another."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 4]
    if not long:
        return text
    i = long[int(rng.integers(len(long)))]
    word = words[i]
    place = 1 + int(rng.integers(len(word) - 2))
    match int(rng.integers(4)):
        case 0:
            word = word[:place] + word[place + 1 :]
        case 1:
            word = word[:place] + word[place] + word[place:]
        case 2:
            word = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case _:
            word = word[:place] + "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))] + word[place + 1 :]
    words[i] = word
    return " ".join(words)
