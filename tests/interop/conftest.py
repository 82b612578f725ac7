"""A vocabulary in CLIP's own format, and open_clip where it is installed."""

import json
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

sys.path.append(str(Path(__file__).parents[2]))  # for benchmarks.peers, wherever pytest was started

SENTENCES = ["a picture of a red apple", "two dogs, running!", "the 3d icon of a house", "l'été, a café's door"] * 4


@pytest.fixture(scope="session")
def open_clip():
    pytest.importorskip("ftfy")
    from benchmarks.peers import open_clip

    try:
        return open_clip()
    except ImportError as error:
        pytest.skip(f"open_clip is not there: {error}")


@pytest.fixture(scope="session")
def words():
    """(vocabulary, merges) as CLIP has them: 256 bytes, the same ending a word, what was merged, start and end."""
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=200, end_of_word_suffix="</w>", show_progress=False)
    learned.train_from_iterator(SENTENCES, trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    assert len(merges) > 30
    return {token: i for i, token in enumerate(tokens)}, merges
