"""The tokenizer of published CLIP models: BPE in which words end with "</w>", between a start and an end token."""

import json as json_format
from collections.abc import Mapping, Sequence

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as _Tokenizer

from unstir.text.tokenizer import Tokenizer

WORD_END = "</w>"
FIRST, LAST = "<|startoftext|>", "<|endoftext|>"

_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""Splits a text into words before BPE. Source: Radford et al. 2021, the tokenizer published with CLIP."""


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding, from the JSON that the `tokenizers` library writes.

    Rows are padded with 0, which causal attention never sees. As in the published tokenizers, "<|endoftext|>" in a
    text is the end token.
    Raises ValueError for the JSON of another kind of tokenizer.
    """

    def __init__(self, json: str) -> None:
        super().__init__(json)
        # Published files may truncate and pad by themselves. Here a text that is too long is an error.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = False
        self.json = self._tokenizer.to_str()
        around = self.tokens("")
        if not _ends_words(self.json) or len(around) != 2:
            raise ValueError(
                f'this is not a tokenizer of CLIP: its words must end with "{WORD_END}", its texts with an end token'
            )
        self.start, self.end = around

    @classmethod
    def of_merges(cls, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> "ClipTokenizer":
        """From the older pair of files, vocab.json and merges.txt.

        vocabulary: the id of every token.  merges: the pairs in the order in which they are merged.
        Raises ValueError where a token is missing, the start or the end token among them.
        """
        absent = [token for token in (FIRST, LAST) if token not in vocabulary]
        if absent:
            raise ValueError(f"the vocabulary has no token {absent[0]}")
        try:
            model = models.BPE(
                vocab=dict(vocabulary), merges=list(merges), unk_token=LAST, end_of_word_suffix=WORD_END, fuse_unk=False
            )
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(f"vocabulary and merges do not go together: {error}") from None
        tokenizer = _Tokenizer(model)
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([FIRST, LAST])
        tokenizer.post_processor = processors.RobertaProcessing(
            (LAST, vocabulary[LAST]), (FIRST, vocabulary[FIRST]), trim_offsets=False, add_prefix_space=False
        )
        return cls(tokenizer.to_str())

    def tokens(self, text: str) -> list[int]:
        """All token ids of one text, between the start and the end token."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids up to the first end token (lower case, one space between words)."""
        upto = list(ids).index(self.end) if self.end in ids else len(ids)
        text: str = self._tokenizer.decode([i for i in ids[:upto] if i != self.start])
        return text.replace(WORD_END, " ").strip()


def tokenizer_of(json: str) -> Tokenizer:
    """The tokenizer that a JSON describes: CLIP's where words end with "</w>", else our own. ValueError for others."""
    return ClipTokenizer(json) if _ends_words(json) else Tokenizer(json)


def _ends_words(json: str) -> bool:
    try:
        model = json_format.loads(json)["model"]
        return bool(model["type"] == "BPE" and model["end_of_word_suffix"] == WORD_END)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
