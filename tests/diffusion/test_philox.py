"""Philox against published vectors, and NumPy's generators by key against what earlier versions drew."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.diffusion.noise import derive_seed
from unstir.diffusion.philox import keyed_generator, keyed_permutation, keyed_words, philox, random_words

SEED = st.integers(0, 2**64 - 1)

# Random123, tests/kat_vectors: philox4x32 with 10 rounds, counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors(counter, key, expected):
    got = philox(np.array([words(counter)], np.uint32), tuple(words(key)))
    assert got.tolist() == [words(expected)]
    assert got.dtype == np.uint32


def test_many_blocks_at_once_are_the_same_blocks():
    counters = np.array([words(counter) for counter, _, _ in KNOWN], np.uint32)
    whole = philox(counters, (1, 2))
    for i in range(len(counters)):
        assert np.array_equal(whole[i : i + 1], philox(counters[i : i + 1], (1, 2)))


def test_random_words_are_philox_of_their_arguments():
    """random_words is philox of (block, 0, step, stream) under the two halves of the seed."""
    seed = 0x123456789ABCDEF0
    got = random_words(seed, step=5, count=8, stream=1)
    expected = philox(np.array([[0, 0, 5, 1], [1, 0, 5, 1]], np.uint32), (0x9ABCDEF0, 0x12345678))
    assert np.array_equal(got, expected.reshape(-1))


@settings(deadline=None)
@given(short=st.integers(0, 40), more=st.integers(0, 40), seed=SEED)
def test_few_words_are_the_beginning_of_many(short, more, seed):
    assert np.array_equal(random_words(seed, 1, short), random_words(seed, 1, short + more)[:short])
    assert np.array_equal(keyed_words(short, seed, 1), keyed_words(short + more, seed, 1)[:short])


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (7, 3), (2**64 - 1, 2**40), (-1, 2**64 + 5)])
def test_keyed_generators_draw_what_they_always_drew(seed, stream):
    """Epochs, splits, built-in pictures and captions of runs made before depend on these bits."""
    key = np.array([seed % 2**64, stream % 2**64], dtype=np.uint64)
    words = np.random.Philox(key=key).random_raw(100)
    assert np.array_equal(keyed_words(100, seed, stream), words)
    assert np.array_equal(keyed_permutation(100, seed, stream), np.argsort(words, kind="stable"))
    expected = np.random.Generator(np.random.Philox(key=key)).random(20)
    assert np.array_equal(keyed_generator(seed, stream).random(20), expected)


def test_a_single_number_as_key():
    """Captions, the digits' split and the scenes for a tokenizer were drawn from such keys."""
    for key in (0, 20_230_601, derive_seed(3, 512, 1)):
        assert np.array_equal(keyed_words(50, key), np.random.Philox(key=key).random_raw(50))
        expected = np.random.Generator(np.random.Philox(key=key)).random(20)
        assert np.array_equal(keyed_generator(key).random(20), expected)


def test_raw_words_are_these():
    """Fixed for good: NumPy promises that they never change."""
    words = keyed_words(3, 1, 2).tolist()
    assert [hex(word) for word in words] == [
        "0x4f2f4313b5536b09",
        "0x5b617be3219ff32a",
        "0x97293476f9275cb",
    ]
    assert keyed_permutation(8, 1, 2).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]


def test_a_permutation_has_every_index_once():
    order = keyed_permutation(1000, 5)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, keyed_permutation(1000, 6))
    assert not np.array_equal(order, keyed_permutation(1000, 5, 1))
    assert keyed_permutation(0, 5).shape == (0,)


def test_generators_by_key_come_without_torch():
    """Reading and packing pictures uses them and must start fast."""
    code = "import sys, unstir.diffusion.philox; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
