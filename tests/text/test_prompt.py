"""Prompts are checked before anything expensive reads them."""

import pytest

from unstir.errors import UserError
from unstir.text.prompt import MAX_PROMPT_CHARACTERS, check_prompt


@pytest.mark.parametrize("text", ["", "red apple", "日本 ☃", "x" * MAX_PROMPT_CHARACTERS])
def test_prompts_pass_unchanged(text):
    assert check_prompt(text) is text


def test_a_prompt_that_is_too_long_is_one_sentence():
    with pytest.raises(UserError) as caught:
        check_prompt("x" * 60_000, "the negative prompt")
    assert str(caught.value) == "the negative prompt has 60,000 characters; shorten it to 2,000 at most"
    with pytest.raises(UserError, match=r"the prompt has 2,001 characters"):
        check_prompt("x" * (MAX_PROMPT_CHARACTERS + 1))


def test_text_that_is_not_unicode_is_refused():
    with pytest.raises(UserError, match="the prompt is not valid Unicode"):
        check_prompt("caf\udce9")  # as the command line gives a byte that is not UTF-8
