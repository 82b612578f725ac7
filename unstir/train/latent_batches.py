"""Batches of latents and of codes. Those of all pictures are computed once and kept beside the packed pictures."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unstir.data.order import LATENT
from unstir.data.pictures import Pictures
from unstir.diffusion.noise import derive_seed
from unstir.diffusion.philox import keyed_generator
from unstir.files import replacing
from unstir.models.autoencoder import Autoencoder
from unstir.models.code_model import CodeBatch, CodeModel
from unstir.models.diffusion import Batch
from unstir.models.latent_diffusion import LatentDiffusion
from unstir.models.process_group import process_group
from unstir.train.batches import BatchSource, captions_at, rows_at, split
from unstir.train.config import TrainConfig

Latents = npt.NDArray[np.float16]
"""(N, 2, C, h, w): mean and standard deviation of the standardised latents of each picture."""

Codes = npt.NDArray[np.int32]
"""(N, h, w): the codes of each picture."""

Progress = Callable[[int, int], None]

CHUNK = 64


def _silent(_done: int, _total: int) -> None: ...


def latent_batches(model: LatentDiffusion, pictures: Pictures, config: TrainConfig) -> BatchSource:
    """Batches of samples of the posterior of each picture; with several processes, the rows of this one."""
    latents = cached_latents(model.codec, pictures)
    trained, _ = split(pictures, config)

    def next_batch(images_seen: int) -> Batch:
        rows = rows_at(trained, config, images_seen)
        captions = captions_at([pictures.captions[row] for row in rows], config, images_seen)
        mine = process_group().rows(len(rows))
        mean, std = torch.from_numpy(latents[rows[mine]].astype(np.float32)).unbind(1)
        noise = keyed_generator(derive_seed(config.seed, images_seen, LATENT))
        eps = noise.standard_normal((len(rows), *mean.shape[1:]), dtype=np.float32)[mine]
        return model.latent_batch(mean, std, torch.from_numpy(eps), captions[mine])

    return BatchSource(next_batch)


def code_batches(model: CodeModel, pictures: Pictures, config: TrainConfig) -> BatchSource:
    """Batches of codes; with several processes, the rows of this one."""
    codes = cached_codes(model.codec, pictures)
    trained, _ = split(pictures, config)

    def next_batch(images_seen: int) -> CodeBatch:
        rows = rows_at(trained, config, images_seen)
        captions = captions_at([pictures.captions[row] for row in rows], config, images_seen)
        mine = process_group().rows(len(rows))
        return model.code_batch(torch.from_numpy(codes[rows[mine]].astype(np.int64)), captions[mine])

    return BatchSource(next_batch)


def prepare(codec: Autoencoder, pictures: Pictures, progress: Progress) -> None:
    """Compute the latents of all pictures and keep them. progress: called with (done, total)."""
    cached_latents(codec, pictures, progress)


def prepare_codes(codec: Autoencoder, pictures: Pictures, progress: Progress) -> None:
    """Compute the codes of all pictures and keep them. progress: called with (done, total)."""
    cached_codes(codec, pictures, progress)


def cached_latents(codec: Autoencoder, pictures: Pictures, progress: Progress = _silent) -> Latents:
    """The latents of all pictures, read from the file beside the packed pictures, or computed and written there.

    progress: called with (done, total) while they are computed.
    """

    def encoded(pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack(codec.standardised_posterior(pixels), dim=1)

    return _cached("latents", codec, pictures, (2, *codec.config.latent_shape), np.float16, encoded, progress)


def cached_codes(codec: Autoencoder, pictures: Pictures, progress: Progress = _silent) -> Codes:
    """The codes of all pictures, kept like `cached_latents`."""
    shape = codec.config.latent_shape[1:]
    return _cached("codes", codec, pictures, shape, np.int32, codec.codes, progress)


def _cached(
    name: str,
    codec: Autoencoder,
    pictures: Pictures,
    each: tuple[int, ...],
    dtype: type,
    encoded: Callable[[torch.Tensor], torch.Tensor],
    progress: Progress,
) -> npt.NDArray[Any]:
    """Something of every picture, kept beside the packed pictures under this name.

    each: its shape.  encoded: uint8 (B, H, W, C) -> (B, *each).
    """
    shape = (len(pictures), *each)
    where = None if pictures.where is None else pictures.where / f"{name}-{_fingerprint(codec)}.npy"
    if where is not None and where.exists():
        found: npt.NDArray[Any] = np.load(where, mmap_mode="r", allow_pickle=False)
        if found.shape == shape and found.dtype == dtype:
            return found

    def fill(array: npt.NDArray[Any]) -> None:
        for start in range(0, len(pictures), CHUNK):
            pixels = torch.from_numpy(np.array(pictures.pixels[start : start + CHUNK]))
            array[start : start + CHUNK] = encoded(pixels).cpu().numpy().astype(dtype)
            progress(min(start + CHUNK, len(pictures)), len(pictures))

    if where is None:
        array: npt.NDArray[Any] = np.empty(shape, dtype)
        fill(array)
        return array
    # Several processes may do this at once: each writes the same bits, and the last one stays.
    with replacing(where, int(np.prod(shape)) * np.dtype(dtype).itemsize) as temporary:
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        fill(mapped)
        mapped.flush()
        del mapped
    kept: npt.NDArray[Any] = np.load(where, mmap_mode="r", allow_pickle=False)
    return kept


def _fingerprint(codec: Autoencoder) -> str:
    digest = hashlib.sha256(repr(codec.config).encode())
    for value in codec.state_dict().values():
        digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
