"""What a prompt may be, checked before anything else reads it."""

from unstir.errors import UserError

MAX_PROMPT_CHARACTERS = 2000
"""The longest prompt in characters: far above the context of any model, far below what takes memory or time."""


def check_prompt(text: str, name: str = "the prompt") -> str:
    """Check a prompt before the tokenizer, the spelling correction or a regular expression sees it.

    text: the prompt as the user wrote it.
    name: what the error message calls it, for example "the negative prompt".
    Returns the text unchanged.
    Raises UserError for more than MAX_PROMPT_CHARACTERS, or for text that is not valid Unicode (lone surrogates).
    """
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UserError(f"{name} has {len(text):,} characters; shorten it to {MAX_PROMPT_CHARACTERS:,} at most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{name} is not valid Unicode text; write it in UTF-8") from None
    return text
