"""CLIP's tokens: the same ids as transformers', never a cut text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_clips import write_words
from transformers import CLIPTokenizerFast

from unstir.text.clip_tokenizer import ClipTokenizer, tokenizer_of
from unstir.text.tokenizer import Tokenizer, TooLong

ODD = [
    "",
    " ",
    "a red apple",
    "  A  RED\n\tApple ",
    "two dogs' l'été, it's 'tis we'll i'm they've d'you",
    "12345 3d 4²",
    "naïve café, İstanbul ẞ ǅ",
    "née" + "\u0301",
    "犬と猫 🐶🐱👩‍🚀",
    "#!$%&()*+,-./:;<=>?@[\\]^_`{|}~",
    "a\u00a0b\u200bc\ufeffd\x00e\x1ff",
    "&amp; &lt;b&gt;",
    "<|startoftext|> a <|endoftext|> red",
    "<|EndOfText|><|endoftext|",
    "\ud7ff\uffff\U0010ffff",
    "x" * 300,
    "!!!!!! ...... ??",
]


@pytest.fixture(scope="module")
def ours(words):
    return ClipTokenizer.of_merges(*words)


@pytest.fixture(scope="module")
def theirs(words):
    vocabulary, merges = words
    return CLIPTokenizerFast(vocab=vocabulary, merges=merges)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(text, ours, theirs):
    assert ours.tokens(text) == theirs(text)["input_ids"]


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=60))
def test_any_text(text, ours, theirs):
    assert ours.tokens(text) == theirs(text)["input_ids"]


def test_the_file_of_transformers(words, ours, tmp_path):
    write_words(tmp_path, words)
    read = ClipTokenizer((tmp_path / "tokenizer.json").read_text())
    assert [read.tokens(text) for text in ODD] == [ours.tokens(text) for text in ODD]
    assert len(read) == len(ours) == len(words[0])


def test_the_vocabulary_of_openai(open_clip):
    """open_clip carries the published one: 49408 tokens."""
    theirs = open_clip.tokenizer.SimpleTokenizer()
    merges = [pair for pair, _ in sorted(theirs.bpe_ranks.items(), key=lambda item: item[1])]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    ours = ClipTokenizer.of_merges({names.get(token, token): i for token, i in theirs.encoder.items()}, merges)
    assert len(ours) == 49408
    assert (ours.start, ours.end) == (49406, 49407)
    assert ours.tokens("a photo of a cat") == [49406, 320, 1125, 539, 320, 2368, 49407]
    # That one also mends broken encodings and HTML and lowers İ in another way, in which transformers differs from it.
    for text in [text for text in ODD if not {"&", "İ", "|"} & set(text) and text.isprintable()]:
        assert ours.tokens(text)[1:-1] == theirs.encode(text), text


def test_rows_are_never_cut(ours):
    row, other = ours.encode(["a red apple", ""], 8)
    assert len(row) == len(other) == 8
    assert other == [ours.start, ours.end] + [0] * 6
    count = len(ours.tokens("a red apple"))
    assert ours.encode(["a red apple"], count)[0] == ours.tokens("a red apple")
    with pytest.raises(TooLong, match=f"{count} tokens long and this model reads {count - 1}"):
        ours.encode(["a red apple"], count - 1)


def test_what_a_file_says_of_cutting_and_padding_is_passed_over(ours):
    content = json.loads(ours.json)
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 77}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 5, "pad_type_id": 0, "pad_token": "!",
    }  # fmt: skip
    other = ClipTokenizer(json.dumps(content))
    assert other.tokens(ODD[4]) == ours.tokens(ODD[4])
    assert other.json == ours.json


def test_read_back(ours):
    assert ours.decode(ours.encode(["A  red Apple 3D, café"], 77)[0]) == "a red apple 3 d , café"


def test_a_json_tells_which_tokenizer_it_is(ours):
    own = Tokenizer.train(["a red apple"], 280)
    assert type(tokenizer_of(own.json)) is Tokenizer
    again = tokenizer_of(ours.json)
    assert type(again) is ClipTokenizer
    assert again.json == ours.json
    for broken in ("", "{}", "[]", "null", '{"model": 3}', "[" * 100_000):
        with pytest.raises(ValueError, match="cannot be read"):
            tokenizer_of(broken)


def test_other_tokenizers_are_refused(ours):
    with pytest.raises(ValueError, match="not a tokenizer of CLIP"):
        ClipTokenizer(Tokenizer.train(["a red apple"], 280).json)
    content = json.loads(ours.json)
    content["post_processor"] = None
    with pytest.raises(ValueError, match="not a tokenizer of CLIP"):
        ClipTokenizer(json.dumps(content))
    with pytest.raises(ValueError, match=r"no token <\|endoftext\|>"):
        ClipTokenizer.of_merges({"<|startoftext|>": 0}, [])
    with pytest.raises(ValueError, match="do not go together"):
        ClipTokenizer.of_merges({"<|startoftext|>": 0, "<|endoftext|>": 1}, [("a", "b")])
