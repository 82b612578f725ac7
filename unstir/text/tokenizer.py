"""A byte-level BPE tokenizer trained on the captions. It encodes any text, if need be byte by byte."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from tokenizers import Tokenizer as _Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

PAD, START = 0, 1


class TooLong(ValueError):
    """Raised for a text that has more tokens than the model's context."""


class Tokenizer:
    """Byte-level BPE that ignores upper and lower case.

    json: as the `tokenizers` library writes it; model files store it.
    pad: the id that fills up a row.
    Raises ValueError where it cannot be read.
    """

    pad = PAD

    def __init__(self, json: str) -> None:
        self.json = json
        try:
            self._tokenizer = _Tokenizer.from_str(json)
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(f"the tokenizer cannot be read: {error}") from None
        # "<pad>" in a prompt is five characters, not padding.
        self._tokenizer.encode_special_tokens = True

    @classmethod
    def train(cls, captions: Iterable[str], vocabulary: int = 2048) -> "Tokenizer":
        """Learn the tokens from captions. Deterministic.

        vocabulary: how many tokens at most; less than 259 (bytes, padding, start, a space) counts as 259.
        """
        tokenizer = _Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=max(vocabulary, 259),
            special_tokens=["<pad>", "<start>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(captions, trainer)
        return cls(tokenizer.to_str())

    def __len__(self) -> int:
        size: int = self._tokenizer.get_vocab_size()
        return size

    def tokens(self, text: str) -> list[int]:
        """All token ids of one text, the start token first."""
        return [START, *self._tokenizer.encode(text).ids]

    def words(self, text: str) -> list[int]:
        """For each of `tokens(text)` the number of its word; words are separated by spaces. -1 for the start token."""
        spaces = [0, *accumulate(character == " " for character in text)]  # before each position
        return [-1, *(spaces[end] for _, end in self._tokenizer.encode(text).offsets)]

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Rows of exactly `length` ids, padded with `pad`. Raises TooLong for a text that does not fit: none is cut."""
        rows = []
        for text in texts:
            ids = self.tokens(text)
            if len(ids) > length:
                raise TooLong(
                    f"the text is {len(ids)} tokens long and this model reads {length}; shorten it: {text[:80]!r}"
                )
            rows.append(ids + [self.pad] * (length - len(ids)))
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """The text that these ids spell (lower case)."""
        text: str = self._tokenizer.decode([i for i in ids if i > START])
        return text.strip()
