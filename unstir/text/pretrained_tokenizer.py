"""The tokenizer of a published text encoder, of any kind that the `tokenizers` library knows."""

import json as json_format
from collections.abc import Sequence

from unstir.text.clip_tokenizer import tokenizer_of
from unstir.text.tokenizer import Tokenizer


class PretrainedTokenizer(Tokenizer):
    """Texts as a published encoder reads them, with its own first and last tokens.

    json: as the `tokenizers` library writes it, its padding switched on; the padding names the token.
    Raises ValueError where it cannot be read, has no padding, or has no token for an empty text.
    """

    def __init__(self, json: str) -> None:
        super().__init__(json)
        padding = self._tokenizer.padding
        if not padding:
            raise ValueError("the tokenizer has no token for padding")
        self.pad = int(padding["pad_id"])
        # A text that is too long is an error, and rows are padded here.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if not self.tokens(""):
            raise ValueError("the tokenizer gives no token for an empty text, which guidance needs")

    def tokens(self, text: str) -> list[int]:
        """All token ids of one text, special tokens included."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids."""
        text: str = self._tokenizer.decode(list(ids))
        return text.strip()


def any_tokenizer_of(json: str) -> Tokenizer:
    """The tokenizer that a JSON describes: one of a published text encoder where it pads, else as `tokenizer_of`.

    Raises ValueError for others.
    """
    try:
        padded = bool(json_format.loads(json).get("padding"))
    except (ValueError, AttributeError, RecursionError):
        padded = False
    return PretrainedTokenizer(json) if padded else tokenizer_of(json)
