"""Content ids: which pictures of a set have the same pixels."""

import hashlib

import numpy as np
import numpy.typing as npt

_CHUNK = 256


def content_id(pixels: npt.NDArray[np.uint8]) -> int:
    """A number in [0, 2**63) that depends on the pixels of one picture alone.

    pixels: (H, W, C), C = 3 or 4. A picture that is opaque throughout has the same id with and without alpha.
    Two different pictures have the same id with a probability of about 1e-19.
    """
    if pixels.shape[-1] == 4 and (pixels[..., 3] == 255).all():
        pixels = pixels[..., :3]
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little") >> 1


def content_ids(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The `content_id` of each of N pictures. pixels: (N, H, W, C), read in pieces: it may be a memory map."""
    ids = np.empty(len(pixels), dtype=np.int64)
    for start in range(0, len(pixels), _CHUNK):
        piece = np.asarray(pixels[start : start + _CHUNK])
        ids[start : start + len(piece)] = [content_id(one) for one in piece]
    return ids
