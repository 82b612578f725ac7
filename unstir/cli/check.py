"""unstir check: validate captioned pictures before training."""

from pathlib import Path

from unstir.cli.progress import bar, say
from unstir.errors import UserError


def check(data: str, *, problems: Path | None = None) -> None:
    """Decode every picture of DATA, read every caption, and report sizes, transparency and problems.

    At most ten problems are printed. If there are more, all of them are written to a text file, one a line.

    Parameters
    ----------
    data
        A folder of captioned pictures (x.png + x.txt, or metadata.jsonl/.csv), or webdataset shards (.tar).
    problems
        The file for all problems; an existing file is replaced. Default: check-NAME.txt in the current folder, NAME
        being that of DATA, and only if there are more than ten.
    """
    from unstir.data.built_in import open_data
    from unstir.data.check import check_source
    from unstir.data.pictures import Pictures
    from unstir.data.report import SHOWN, problem_lines
    from unstir.files import write_atomic

    found = open_data(data)
    if isinstance(found, Pictures):
        say(f"{data}: a built-in set of {len(found)} pictures, nothing to check")
        return
    with bar("checking pictures", len(found.entries)) as progress:
        report = check_source(found, lambda done, _: progress(done))
    for line in report.lines(rest=""):
        print(line)
    if problems is None and len(report.problems) > SHOWN:
        problems = Path(f"check-{Path(data).resolve().name or 'data'}.txt")
    if problems is not None:
        if problems.is_dir():
            raise UserError(f"--problems {problems} is a folder; name a file")
        write_atomic(problems, "".join(f"{line}\n" for line in problem_lines(report.problems, shown=None)))
        print(f"All {len(report.problems)} problems are in {problems}.")
    if not report.usable:
        raise UserError(f"no picture of {data} can be used")
