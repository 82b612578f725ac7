"""unstir check: the pre-flight."""

from unstir.cli.progress import bar, say
from unstir.errors import UserError


def check(data: str) -> None:
    """Look at every picture and caption of DATA and say what training would meet.

    Parameters
    ----------
    data
        A folder of captioned pictures (x.png + x.txt, or metadata.jsonl/.csv), or webdataset shards (.tar).
    """
    from unstir.data.check import check as look
    from unstir.data.named import open_named
    from unstir.data.pictures import Pictures

    found = open_named(data)
    if isinstance(found, Pictures):
        say(f"{data}: a built-in set of {len(found)} pictures, nothing to check")
        return
    with bar("looking at pictures", len(found.entries)) as progress:
        report = look(found, lambda done, _: progress(done))
    for line in report.lines(shown=None):
        print(line)
    if not report.usable:
        raise UserError(f"not one picture of {data} can be used")
