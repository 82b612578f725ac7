"""Model files: safetensors with the description of the model as JSON in the header. No pickle, no code."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from unstir.errors import UserError
from unstir.files import write_atomic
from unstir.models.description import build, describe, described_kind, settings_of
from unstir.models.generative import GenerativeModel
from unstir.models.paradigms import Paradigm, paradigm
from unstir.nn.lora import LoRAWeights, merge_lora
from unstir.settings import Settings
from unstir.weights.int8 import SCALE_PREFIX, dequantize, quantize

HEADER = "unstir"
FEW_PREFIX = "few/"
DEFAULT = Path(__file__).parent / "icons.safetensors"
DEFAULT_CLIP = Path(__file__).parent / "icons_clip.safetensors"

S = TypeVar("S", bound=Settings, covariant=True)


@dataclass(frozen=True)
class FewSteps:
    """Few-step weights: a LoRA that is used for few sampling steps.

    most: the largest number of steps it is used for.
    settings: the defaults to use it with.
    lora: of the network's weights.
    """

    most: int
    settings: Settings
    lora: LoRAWeights


@dataclass(frozen=True)
class Loaded(Generic[S]):
    """A loaded model that draws, and the rest of its file.

    settings: its defaults.
    notes: name, training, words, …
    path: of the file.
    kind: its record in the table of paradigms.
    few: whether the few-step weights are in use.
    few_up_to: the largest number of steps that its file has few-step weights for; 0: it has none.
    """

    model: Any
    settings: S
    notes: dict[str, Any]
    path: Path
    kind: Paradigm
    few: bool = False
    few_up_to: int = 0

    @property
    def title(self) -> str:
        """The name of its kind in messages, as in "a diffusion model"."""
        return self.kind.title

    @property
    def name(self) -> str:
        """The name of the model: from its notes, or of its file or run folder."""
        path = self.path.resolve()
        return str(self.notes.get("name", path.parent.name if path.stem == "model" else path.stem))

    @property
    def dtype(self) -> str:
        """Of the weights in memory, as in "float32"."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")


def save_model(
    path: Path,
    model: nn.Module,
    weights: Mapping[str, Tensor] | None = None,
    settings: Settings | None = None,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
    few: FewSteps | None = None,
) -> None:
    """Write a model to one file, atomically.

    weights: to store instead of the model's own, such as their averages.
    settings: the defaults of a model that draws; None: those of its kind.
    notes: JSON values.
    dtype: of the stored weights. float16 keeps three more bits of each weight than bfloat16 at the same size; int8
        halves the file again, with a scale for each row (see `int8`).
    few: few-step weights.
    ValueError where a weight is not finite.
    """
    description = describe(model)
    kind = described_kind(description).settings
    weights = stored_tensors(model) if weights is None else weights
    if dtype == torch.int8:
        tensors = quantize(weights)
    else:
        tensors = {
            name: value.detach().to("cpu", _stored(value, dtype)).contiguous() for name, value in weights.items()
        }
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{len(broken)} weights are not finite in {dtype}, {broken[0]} among them")
    header = description | {"notes": dict(notes or {})}
    if kind is not None:
        header["sampling"] = asdict(settings or kind())
    if few is not None:
        header["few"] = {"most": few.most, "sampling": asdict(few.settings)}
        for name, pair in few.lora.items():
            for k, part in enumerate(pair):
                tensors[f"{FEW_PREFIX}{k}/{name}"] = part.to("cpu", torch.float16).contiguous()
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    size = sum(value.nbytes for value in tensors.values())
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata={HEADER: text}), size=size)


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model file: parameters and persistent buffers."""
    return dict(model.state_dict())


def _stored(value: Tensor, dtype: torch.dtype) -> torch.dtype:
    """The dtype to store a tensor in; integers keep theirs."""
    return dtype if value.is_floating_point() else value.dtype


def resolve_default(path: Path, default: Path) -> Path:
    """The default model for the path "icons", unless there is a model at that path."""
    theirs = path.is_file() or (path / "model.safetensors").exists()
    return default if path == Path("icons") and not theirs else path


def find_model(path: Path) -> Path:
    """The model file at a path, or in a run folder. UserError if there is none."""
    if path.is_dir():
        inside = path / "model.safetensors"
        if not inside.exists():
            raise UserError(f"{path} holds no model.safetensors; give a model file, or a run folder that has trained")
        return inside
    if not path.exists():
        raise UserError(f"there is no model {path}; give a .safetensors file written by unstir, or a run folder")
    return path


def read_header(path: Path) -> tuple[dict[str, str], list[str]]:
    """The metadata and tensor names of a safetensors file. UserError where it cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {}), list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({str(error).splitlines()[0]}); "
            "pickled checkpoints (.pt, .ckpt) are refused whatever their name"
        ) from None


def load_model(
    path: Path, device: str = "cpu", dtype: torch.dtype | None = None, steps: int | None = None
) -> Loaded[Any]:
    """Load a model that draws. UserError where there is none.

    path: a model file or a run folder.
    dtype: of the weights in memory; None: `fast_dtype`.
    steps: the number of sampling steps; for few steps the few-step weights and settings are used, if the file has them.
    """
    path = find_model(path)
    dtype = dtype or fast_dtype(device)
    header = _header(path)
    try:
        few = header.get("few") or {}
        up_to = int(few["most"]) if few else 0
        wanted = steps is not None and 0 < steps <= up_to
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has settings or weights that make no sense: {error}") from None
    # The LoRA is added in float32 to the weights as stored; otherwise they would be rounded twice.
    model, kind = _opened(path, header, device, torch.float32 if wanted else dtype)
    if kind.settings is None or not isinstance(model, GenerativeModel):
        raise UserError(f"{path} cannot be used here: it is {kind.title}, which does not draw")
    try:
        settings = settings_of(kind.settings, few["sampling"] if wanted else header.get("sampling", {}))
        if wanted:
            merge_lora(model.network, _lora(path))  # type: ignore[attr-defined]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has settings or weights that make no sense: {error}") from None
    network: Any = model.to(dtype=dtype)  # type: ignore[attr-defined]
    return Loaded(network, settings, header.get("notes", {}), path, kind, wanted, up_to)


def few_step_weights(path: Path) -> FewSteps | None:
    """The few-step weights of a model file, or None."""
    header = json.loads(read_header(path)[0][HEADER])
    few, kind = header.get("few"), described_kind(header).settings
    return FewSteps(few["most"], settings_of(kind, few["sampling"]), _lora(path)) if few and kind else None


def _lora(path: Path) -> LoRAWeights:
    """The LoRA of a file's few-step weights."""
    first = f"{FEW_PREFIX}0/"
    with safe_open(str(path), framework="pt") as file:
        names = [name.removeprefix(first) for name in file.keys() if name.startswith(first)]  # noqa: SIM118
        return {name: (file.get_tensor(first + name), file.get_tensor(f"{FEW_PREFIX}1/{name}")) for name in names}


def load_clip(path: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """Load a CLIP of unstir. UserError where there is none.

    path: a model file or a run folder.
    dtype: of the weights in memory. With another one than float32, results differ between machines.
    """
    return load_kind(path, "clip", device, dtype)


def load_kind(path: Path, kind: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """Load a model of one kind. UserError where there is none.

    path: a model file or a run folder.
    kind: its name in the table of paradigms.
    dtype: of the weights in memory.
    """
    path = find_model(path)
    model, found = _opened(path, _header(path), device, dtype)
    if found.name != kind:
        raise UserError(f"{path} cannot be used here: it is {found.title}, and {paradigm(kind).title} is needed")
    return model


def kind_of_file(path: Path) -> Paradigm:
    """The record of the kind of model in a file. UserError where there is none."""
    try:
        return described_kind(_header(path))
    except ValueError as error:
        raise UserError(f"{path} describes a model that cannot be built: {error}") from None


def notes_of(path: Path) -> dict[str, Any]:
    """The notes of a model file or of the model of a run folder. UserError where there is none."""
    notes: dict[str, Any] = _header(find_model(path)).get("notes", {})
    return notes


def _header(path: Path) -> dict[str, Any]:
    """The description in the header of a model file. UserError where unstir has not written it."""
    metadata, _ = read_header(path)
    if HEADER not in metadata:
        raise UserError(f"{path} holds weights but no unstir model; give a file written by unstir")
    try:
        header = json.loads(metadata[HEADER])
    except ValueError as error:
        raise UserError(f"{path} describes a model that cannot be built: {error}") from None
    if not isinstance(header, dict):
        raise UserError(f"{path} describes a model that cannot be built: the description is not a JSON object")
    return header


def _opened(path: Path, header: dict[str, Any], device: str, dtype: torch.dtype) -> tuple[Any, Paradigm]:
    """The model of a file, and its kind. The file is memory-mapped, and the model built on the meta device."""
    with safe_open(str(path), framework="pt") as file:
        names = [name for name in file.keys() if not name.startswith(FEW_PREFIX)]  # noqa: SIM118
        stored = {name: file.get_tensor(name) for name in names}
    scales = {name for name in names if name.startswith(SCALE_PREFIX)}
    try:
        kind = described_kind(header)
        with torch.device("meta"), _within(len(stored), sum(value.numel() for value in stored.values())):
            model = build(header)
    except (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError) as error:
        # The last two come from invalid sizes: a patch of 0, a negative width.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} describes a model that cannot be built: {reason}") from None
    wanted = stored_tensors(model)
    if set(names) - scales != set(wanted) or not {name.removeprefix(SCALE_PREFIX) for name in scales} <= set(wanted):
        odd = sorted((set(names) - scales) ^ set(wanted)) or sorted(scales)
        raise UserError(f"{path} does not hold the weights that its header describes: {odd[0]}, {len(odd)} in all")
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
        # A copy: views of the mapped file are not aligned, and products of them have other last bits.
        weights[name] = value.to(device, _stored(value, dtype), copy=True)
    model.load_state_dict(weights, assign=True)
    model.to(device)  # buffers that are not stored
    model.requires_grad_(False)
    return model.eval(), kind


@contextmanager
def _within(weights: int, numbers: int) -> Iterator[None]:
    """Raise ValueError while a model is built, as soon as it is much larger than what the file holds.

    A header may claim any number of layers of any size, and building them could take hours.
    weights: number of tensors in the file.
    numbers: of their elements.
    """
    left = [2 * weights + 100, 2 * numbers + 1_000_000]

    def check(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
        if min(left) < 0:
            raise ValueError(f"its header describes far more weights than the {weights} in the file")

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where it is computed in hardware, else float32. float16 is never fast on a CPU."""
    if device.startswith("cpu"):
        # Where a CPU has no bfloat16 instructions, converting back and forth costs more than it saves.
        fast = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX") and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16
