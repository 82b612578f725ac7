"""Byte-pair tokens learned from the captions. Any text can be written in them, byte by byte."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer as _Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

PAD, START = 0, 1


class TooLong(ValueError):
    """A prompt with more tokens than the model's context."""


class Tokenizer:
    """Case-blind byte-level BPE. It travels inside the model file as its own JSON; ValueError where that is none."""

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
        """Learn at most `vocabulary` tokens (259 at least: bytes, padding, start) from captions. Deterministic."""
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
        """Token ids of one text, with the start token first, as many as it takes."""
        return [START, *self._tokenizer.encode(text).ids]

    def words(self, text: str) -> list[int]:
        """For each of `tokens(text)` the number of the word that it is from, as spaces part them; -1 for the start."""
        ends = (end for _, end in self._tokenizer.encode(text).offsets)
        return [-1, *(text.count(" ", 0, end) for end in ends)]

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Rows of exactly `length` ids, padded with 0. Raises TooLong rather than cut a text in silence."""
        rows = []
        for text in texts:
            ids = self.tokens(text)
            if len(ids) > length:
                raise TooLong(
                    f"the text is {len(ids)} tokens long and this model reads {length}; shorten it: {text[:80]!r}"
                )
            rows.append(ids + [PAD] * (length - len(ids)))
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """The text that these ids spell (lower case)."""
        text: str = self._tokenizer.decode([i for i in ids if i > START])
        return text.strip()
