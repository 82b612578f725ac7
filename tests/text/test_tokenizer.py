import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.text.tokenizer import PAD, START, Tokenizer, TooLong

CAPTIONS = ["a red apple on a table", "a green apple", "two red dogs", "the red house, fluent 3d"] * 5
TOKENIZER = Tokenizer.train(CAPTIONS, vocabulary=320)


def normal(text):
    return unicodedata.normalize("NFKC", text).lower()


def settled(character):
    """In Unicode since 3.2: this Python and the tokenizers library may follow different later versions."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


ASSIGNED = st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs", "Cn", "Co"])
TEXT = st.text(ASSIGNED.filter(settled), max_size=40)


@settings(deadline=None, max_examples=300)
@given(TEXT)
def test_any_text_can_be_written_and_read_back(text):
    # Lower case and NFKC are what the tokenizer does to a text; the rest comes back, but for space around it.
    got = TOKENIZER.decode(TOKENIZER.tokens(text))
    # Python lowers a final Σ to ς, the library, one character at a time, to σ.
    assert got.replace("ς", "σ") == normal(text).strip().replace("ς", "σ")


def test_known_words_are_few_tokens_and_unknown_characters_are_bytes():
    assert len(TOKENIZER.tokens("red apple")) == 3
    assert len(TOKENIZER.tokens("☃")) == 1 + 1 + len("☃".encode())  # start, the space before, three bytes
    assert TOKENIZER.decode(TOKENIZER.tokens("☃")) == "☃"


@pytest.mark.parametrize("text", ["", " ", "red apple", "<pad>", "ß"])
def test_starts_with_start_and_has_no_padding_inside(text):
    ids = TOKENIZER.tokens(text)
    assert ids[0] == START
    assert all(0 <= i < len(TOKENIZER) for i in ids)


@settings(deadline=None)
@given(TEXT)
def test_no_text_spells_padding(text):
    assert PAD not in TOKENIZER.tokens(text)


def test_a_special_tokens_name_in_a_prompt_is_text():
    for text in ("<pad>", "<start>", "a <pad> b"):
        ids = TOKENIZER.tokens(text)
        assert PAD not in ids
        assert ids.count(START) == 1
        assert TOKENIZER.decode(ids) == text


def test_the_empty_prompt_is_the_start_alone():
    assert TOKENIZER.tokens("") == [START]
    assert TOKENIZER.encode([""], 4) == [[START, PAD, PAD, PAD]]
    assert TOKENIZER.decode([START, PAD]) == ""


def test_case_width_and_compatibility_forms_are_one():
    assert TOKENIZER.tokens("RED Apple") == TOKENIZER.tokens("red apple") == TOKENIZER.tokens("ｒｅｄ apple")


def test_rows_have_the_length_and_too_long_raises():
    length = len(TOKENIZER.tokens("two red dogs"))
    (row,) = TOKENIZER.encode(["two red dogs"], length)
    assert row == TOKENIZER.tokens("two red dogs")
    rows = TOKENIZER.encode(["two red dogs", "red"], length + 2)
    assert [len(row) for row in rows] == [length + 2] * 2
    assert rows[0][length:] == [PAD, PAD]
    with pytest.raises(TooLong, match=f"{length} tokens long and this model reads {length - 1}.*two red dogs"):
        TOKENIZER.encode(["red", "two red dogs"], length - 1)
    assert issubclass(TooLong, ValueError)


def test_training_is_deterministic_and_within_the_vocabulary():
    again = Tokenizer.train(iter(CAPTIONS), vocabulary=320)
    assert again.json == TOKENIZER.json
    assert 259 < len(TOKENIZER) <= 320
    # All bytes, padding and start, whatever is asked for and whatever is seen.
    assert len(Tokenizer.train([], vocabulary=1)) == 258
    assert Tokenizer.train([], 1).decode(Tokenizer.train([], 1).tokens("añ☃")) == "añ☃"


def test_it_travels_as_its_json():
    copy = Tokenizer(TOKENIZER.json)
    assert copy.tokens("the ☃ red house") == TOKENIZER.tokens("the ☃ red house")
    assert len(copy) == len(TOKENIZER)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("abcdeé☃,'’-", min_size=1, max_size=9), min_size=1, max_size=6))
def test_each_token_knows_its_word(words):
    text = " ".join(words)
    ids, numbers = TOKENIZER.tokens(text), TOKENIZER.words(text)
    assert len(numbers) == len(ids)
    assert numbers[0] == -1
    for k, word in enumerate(words):
        own = [one for one, number in zip(ids, numbers, strict=True) if number == k]
        assert TOKENIZER.decode(own) == normal(word)


class Counted(str):
    """A text that counts how often it is searched."""

    searched = 0

    def count(self, *arguments):
        Counted.searched += 1
        return super().count(*arguments)


def test_words_of_a_long_text_are_counted_in_one_pass():
    text = "red apple " * 3000
    assert TOKENIZER.words(Counted(text)) == TOKENIZER.words(text)
    assert Counted.searched == 0  # once for each token made it quadratic
    assert max(TOKENIZER.words(text)) == 6000
