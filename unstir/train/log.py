"""The log of a run: log.jsonl, one JSON object a line, and optionally TensorBoard files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.errors import UserError
from unstir.files import write_atomic, write_error

NAME = "log.jsonl"


class Log:
    """Appends to log.jsonl of a run folder.

    images_seen: where the run continues; later lines, of a process that was killed, are removed.
    tensorboard: write TensorBoard files too. UserError where TensorBoard is not installed.
    """

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
            # purge_step removes this step and later ones; the step at which the run resumes is kept.
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen + 1)

    def write(self, images_seen: int, values: Mapping[str, float | str]) -> None:
        """Write one line: the training clock and these values. UserError where the file cannot be written."""
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
        """Every complete line of the log in this folder; an incomplete last line is skipped."""
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
