"""A model is one file: safetensors, with its whole description as JSON in the header. No pickle, no code."""

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
from unstir.models.paradigms import Paradigm
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
    """A low-rank change of the weights under which few steps suffice.

    most: up to so many steps it is used.
    settings: the defaults that go with it.
    lora: of the network's weights.
    """

    most: int
    settings: Settings
    lora: LoRAWeights


@dataclass(frozen=True)
class Loaded(Generic[S]):
    """A model that draws, with what its file says beside the weights.

    settings: its defaults.
    notes: name, training, words, …
    few: whether these are its few-step weights.
    few_up_to: up to how many steps its file has few-step weights for; 0: it has none.
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
        """What messages call its kind."""
        return self.kind.title

    @property
    def name(self) -> str:
        """What the model is called: by its notes, or by its file or run folder."""
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
    """Write the model (or other weights of the same names, such as an average) to one file, atomically.

    settings: defaults of a model that draws; None: those of its kind.
    dtype: of the stored weights. float16 keeps three more bits of each weight than bfloat16 at the same size; int8
        halves the file again, with a scale for each row (see `int8`).
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
    """What a model file holds: parameters and persistent buffers."""
    return dict(model.state_dict())


def _stored(value: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Whole numbers stay what they are."""
    return dtype if value.is_floating_point() else value.dtype


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


def load_model(
    path: Path, device: str = "cpu", dtype: torch.dtype | None = None, steps: int | None = None
) -> Loaded[Any]:
    """The model of a file, or of a run folder, ready to draw. UserError where there is none.

    dtype: of the weights in memory; None: as suits the device (bfloat16 where the processor is fast at it).
    steps: how many will be taken: for few, the few-step weights and settings where the file has them.
    """
    path = find_model(path)
    dtype = dtype or fast_dtype(device)
    header = _header(path)
    try:
        few = header.get("few") or {}
        up_to = int(few["most"]) if few else 0
        wanted = steps is not None and steps <= up_to
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has settings or weights that make no sense: {error}") from None
    # The change is added in float32 to the weights as stored: rounded twice they would be neither one nor the other.
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
    """What a file holds for few steps, or None."""
    header = json.loads(read_header(path)[0][HEADER])
    few, kind = header.get("few"), described_kind(header).settings
    return FewSteps(few["most"], settings_of(kind, few["sampling"]), _lora(path)) if few and kind else None


def _lora(path: Path) -> LoRAWeights:
    """The change for few steps that a file holds."""
    first = f"{FEW_PREFIX}0/"
    with safe_open(str(path), framework="pt") as file:
        names = [name.removeprefix(first) for name in file.keys() if name.startswith(first)]  # noqa: SIM118
        return {name: (file.get_tensor(first + name), file.get_tensor(f"{FEW_PREFIX}1/{name}")) for name in names}


def load_clip(path: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """The CLIP of a file, or of a run folder, ready to compare. UserError where there is none.

    dtype: of the weights in memory. float32, or two machines would not measure the same.
    """
    path = find_model(path)
    model, kind = _opened(path, _header(path), device, dtype)
    if kind.name != "clip":
        raise UserError(f"{path} cannot be used here: it is {kind.title}, and a CLIP is needed")
    return model


def _header(path: Path) -> dict[str, Any]:
    """What a model file says of itself. UserError where it is none of ours."""
    metadata, _ = read_header(path)
    if HEADER not in metadata:
        raise UserError(f"{path} holds weights but no unstir model; give a file that unstir wrote")
    try:
        header = json.loads(metadata[HEADER])
    except ValueError as error:
        raise UserError(f"{path} describes a model that cannot be built: {error}") from None
    if not isinstance(header, dict):
        raise UserError(f"{path} describes a model that cannot be built: the description is no object")
    return header


def _opened(path: Path, header: dict[str, Any], device: str, dtype: torch.dtype) -> tuple[Any, Paradigm]:
    """The model of a file and its kind, read memory-mapped, into a model laid out without memory."""
    with safe_open(str(path), framework="pt") as file:
        names = [name for name in file.keys() if not name.startswith(FEW_PREFIX)]  # noqa: SIM118
        stored = {name: file.get_tensor(name) for name in names}
    scales = {name for name in names if name.startswith(SCALE_PREFIX)}
    try:
        kind = described_kind(header)
        with torch.device("meta"), _within(len(stored), sum(value.numel() for value in stored.values())):
            model = build(header)
    except (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError) as error:
        # The last two come from sizes that make no sense: a patch of 0, a negative width.
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
        # A copy: views of the mapped file lie at odd addresses, where products come out with other last bits.
        weights[name] = value.to(device, _stored(value, dtype), copy=True)
    model.load_state_dict(weights, assign=True)
    model.to(device)  # constants that are no weights
    model.requires_grad_(False)
    return model.eval(), kind


@contextmanager
def _within(weights: int, numbers: int) -> Iterator[None]:
    """While a model is laid out: ValueError as soon as it is much larger than what the file holds.

    A header may claim any number of layers, of any size; to lay them out would take for ever. Which weights do not fit
    is said afterwards, by their whole names.
    weights, numbers: of the file.
    """
    left = [2 * weights + 100, 2 * numbers + 1_000_000]

    def check(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
        if min(left) < 0:
            raise ValueError(f"its header claims far more weights than the {weights} that it holds")

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
