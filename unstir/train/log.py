"""The log of a run: one JSON object a line, always; TensorBoard beside it where asked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.errors import UserError
from unstir.files import write_atomic, write_error

NAME = "log.jsonl"


class Log:
    """Appends to RUN/log.jsonl. Opened at `images_seen`, it first drops the lines that a killed run wrote after."""

    def __init__(self, folder: Path, images_seen: int, tensorboard: bool = False) -> None:
        self._path = folder / NAME
        kept = [line for line in self.lines(folder) if line["images"] <= images_seen] if images_seen else []
        write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the log
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UserError("TensorBoard is not installed: pip install 'unstir[tensorboard]'") from None
            # What comes at this step or after is dropped: the point where the run goes on is to stay.
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen + 1)

    def write(self, images_seen: int, values: Mapping[str, float | str]) -> None:
        """One line: the clock and these values."""
        line = json.dumps({"images": images_seen, **values}) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error, len(line)) from error
        if self._board is not None:
            for name, value in values.items():
                write = self._board.add_text if isinstance(value, str) else self._board.add_scalar
                write(name, value, images_seen)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    @staticmethod
    def lines(folder: Path) -> list[dict[str, Any]]:
        """Every whole line of the log in this folder; the torn last line of a killed run is left out."""
        path = folder / NAME
        if not path.exists():
            return []
        found = []
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:
                continue
        return found
