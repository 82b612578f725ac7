"""A model is one file: safetensors, with its whole description as JSON in the header. No pickle, no code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.models.build import WrongKind, build_as, describe, sampling_of
from unstir.models.clip import Clip
from unstir.models.diffusion import Diffusion, Sampling
from unstir.nn.lora import LoRAWeights, merge_lora
from unstir.weights.int8 import SCALE_PREFIX, dequantize, quantize

HEADER = "unstir"
FEW_PREFIX = "few/"
DEFAULT = Path(__file__).parent / "icons.safetensors"
DEFAULT_CLIP = Path(__file__).parent / "icons_clip.safetensors"

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class FewSteps:
    """A change of the weights under which few steps suffice.

    most: up to so many steps it is taken.  sampling: the dials that go with it.  deltas: of the network's weights.
    """

    most: int
    sampling: Sampling
    deltas: LoRAWeights


@dataclass(frozen=True)
class Loaded:
    """A model with what its file says beside the weights: default dials, and notes (name, training, styles, …).

    few: whether these are its weights for few steps.
    """

    model: Diffusion
    sampling: Sampling
    notes: dict[str, Any]
    path: Path
    few: bool = False


def save_model(
    path: Path,
    model: Diffusion | Clip,
    weights: Mapping[str, Tensor] | None = None,
    sampling: Sampling | None = None,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
    few: FewSteps | None = None,
) -> None:
    """Write the model (or other weights of the same names, such as an average) to one file, atomically.

    sampling: default dials of a model that draws.
    dtype: of the stored weights. float16 keeps three more bits of each weight than bfloat16 at the same size; int8
        halves the file again, with a scale for each row (see `eighths`).
    """
    weights = dict(model.named_parameters()) if weights is None else weights
    if dtype == torch.int8:
        tensors = quantize(weights)
    else:
        tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{len(broken)} weights are not finite in {dtype}, {broken[0]} among them")
    header = describe(model) | {"notes": dict(notes or {})}
    if isinstance(model, Diffusion):
        header["sampling"] = asdict(sampling or Sampling())
    if few is not None:
        header["few"] = {"most": few.most, "sampling": asdict(few.sampling)}
        for name, pair in few.deltas.items():
            tensors |= {
                f"{FEW_PREFIX}{k}/{name}": part.to("cpu", torch.float16).contiguous() for k, part in enumerate(pair)
            }
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata={HEADER: text}))


def resolve_default(path: Path, default: Path) -> Path:
    """The model that comes with the package for the name "icons", unless a model of that name is there."""
    theirs = path.is_file() or (path / "model.safetensors").exists()
    return default if path == Path("icons") and not theirs else path


def find_model(path: Path) -> Path:
    """The model file that a path means: itself, or the one inside a run folder. UserError if there is none."""
    if path.is_dir():
        inside = path / "model.safetensors"
        if not inside.exists():
            raise UserError(f"{path} holds no model.safetensors; give a model file, or a run folder that has trained")
        return inside
    if not path.exists():
        raise UserError(f"there is no model {path}; give a .safetensors file that unstir wrote, or a run folder")
    return path


def read_header(path: Path) -> tuple[dict[str, str], list[str]]:
    """The metadata and tensor names of a safetensors file; UserError where it is none."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {}), list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({str(error).splitlines()[0]}); "
            "pickled checkpoints (.pt, .ckpt) are refused whatever their name"
        ) from None


def load_model(path: Path, device: str = "cpu", dtype: torch.dtype | None = None, steps: int | None = None) -> Loaded:
    """The diffusion model of a file, or of a run folder, ready to draw. UserError where there is none.

    dtype: of the weights in memory; None: as suits the device (bfloat16 where the processor is fast at it).
    steps: how many will be taken: for few, the weights and dials for few where the file has them.
    """
    path = find_model(path)
    dtype = dtype or fast_dtype(device)
    model, header = _opened(Diffusion, path, device, dtype)
    try:
        few = header.get("few") or {}
        if steps is None or not few or steps > int(few["most"]):
            return Loaded(model, sampling_of(header.get("sampling", {})), header.get("notes", {}), path)
        sampling = sampling_of(few["sampling"])
        # Added in float32 to the weights as stored: rounded twice they would be neither the one nor the other.
        model, _ = _opened(Diffusion, path, device, torch.float32)
        merge_lora(model.network, _deltas(path))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has dials or weights that make no sense: {error}") from None
    return Loaded(model.to(dtype=dtype), sampling, header.get("notes", {}), path, few=True)


def few_step_weights(path: Path) -> FewSteps | None:
    """What a file holds for few steps, or None."""
    header = json.loads(read_header(path)[0][HEADER])
    few = header.get("few")
    return FewSteps(few["most"], sampling_of(few["sampling"]), _deltas(path)) if few else None


def _deltas(path: Path) -> LoRAWeights:
    """The change for few steps that a file holds."""
    with safe_open(str(path), framework="pt") as file:
        names = [name.removeprefix(f"{FEW_PREFIX}0/") for name in file.keys() if name.startswith(f"{FEW_PREFIX}0/")]  # noqa: SIM118
        return {
            name: (file.get_tensor(f"{FEW_PREFIX}0/{name}"), file.get_tensor(f"{FEW_PREFIX}1/{name}")) for name in names
        }


def load_clip(path: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Clip:
    """The CLIP model of a file, or of a run folder, ready to compare. UserError where there is none.

    dtype: of the weights in memory. float32, or two machines would not measure the same.
    """
    return _opened(Clip, find_model(path), device, dtype)[0]


def _opened(kind: type[M], path: Path, device: str, dtype: torch.dtype) -> tuple[M, dict[str, Any]]:
    """The model and the header of a file, read memory-mapped, straight into a model laid out without memory."""
    metadata, names = read_header(path)
    if HEADER not in metadata:
        raise UserError(f"{path} holds weights but no unstir model; give a file that unstir wrote")
    try:
        header = json.loads(metadata[HEADER])
        with torch.device("meta"):
            model = build_as(kind, header)
    except WrongKind as error:
        raise UserError(f"{path} cannot be used here: {error}") from None
    except (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError) as error:
        # The last two come from sizes that make no sense: a patch of 0, a negative width.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} describes a model that cannot be built: {reason}") from None
    wanted = dict(model.named_parameters())
    names = [name for name in names if not name.startswith(FEW_PREFIX)]
    scales = {name for name in names if name.startswith(SCALE_PREFIX)}
    if set(names) - scales != set(wanted) or not {name.removeprefix(SCALE_PREFIX) for name in scales} <= set(wanted):
        odd = sorted((set(names) - scales) ^ set(wanted)) or sorted(scales)
        raise UserError(f"{path} does not hold the weights that its header describes: {odd[0]}, {len(odd)} in all")
    with safe_open(str(path), framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in names}
    weights = {}
    for name, like in wanted.items():
        value = stored[name]
        if value.shape != like.shape:
            raise UserError(f"{path}: {name} has the shape {tuple(value.shape)}, its header says another")
        if SCALE_PREFIX + name in scales:
            try:
                value = dequantize(value, stored[SCALE_PREFIX + name])
            except ValueError as error:
                raise UserError(f"{path}: {name} cannot be read: {error}") from None
        # A copy: views of the mapped file lie at odd addresses, where products come out with other last bits.
        weights[name] = value.to(device, dtype, copy=True)
    model.load_state_dict(weights, assign=True)
    model.to(device)  # constants that are no weights
    model.requires_grad_(False)
    return model.eval(), header


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where it is computed in hardware, else float32. float16 is never fast on a CPU."""
    if device.startswith("cpu"):
        # Where a CPU has no bfloat16 instructions, converting back and forth costs more than it saves.
        fast = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX") and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16
