"""Parts of captions: plurals, numbers, articles, and random typos."""

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
    """A name with its article: "apple" -> "an apple"."""
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def misspelt(text: str, rng: np.random.Generator) -> str:
    """The text with a typo in one word of 4 letters or more: a letter missing, doubled, swapped or replaced."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 4]
    if not long:
        return text
    i = long[int(rng.integers(len(long)))]
    word = words[i]
    at = 1 + int(rng.integers(len(word) - 2))
    match int(rng.integers(4)):
        case 0:
            word = word[:at] + word[at + 1 :]
        case 1:
            word = word[:at] + word[at] + word[at:]
        case 2:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case _:
            word = word[:at] + "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))] + word[at + 1 :]
    words[i] = word
    return " ".join(words)
