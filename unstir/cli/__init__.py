"""The command line: one command a file, each loaded only when it is called."""

import sys

from cyclopts import App, CycloptsError

from unstir import __version__
from unstir.errors import UserError
from unstir.threads import configure_threads

app = App(
    name="unstir",
    help="Text-to-image models of your own: from a folder of captioned pictures to a model that draws.",
    version=__version__,
    help_epilogue="Begin with: unstir generate 'red apple, fluent 3d'",
    suppress_keyboard_interrupt=False,  # main prints a message
)
app.command("unstir.cli.generate:generate", name="generate", help="Generate pictures from a prompt.")
app.command("unstir.cli.reproduce:reproduce", name="reproduce", help="Draw a picture again from what its file says.")
app.command(
    "unstir.cli.interpolate:interpolate",
    name="interpolate",
    help="Draw the pictures between two prompts, seeds or pictures.",
)
app.command("unstir.cli.vary:vary", name="vary", help="Draw variations of a picture.")
app.command(
    "unstir.cli.train:train",
    name="train",
    help="Train a model on captioned pictures, or continue a run.",
    help_epilogue="On two GPUs: torchrun --nproc-per-node 2 -m unstir -- train DATA --run RUN",
)
app.command(
    "unstir.cli.distill:distill",
    name="distill",
    help="Distil a diffusion model to four steps.",
    help_epilogue="On two GPUs: torchrun --nproc-per-node 2 -m unstir -- distill DATA --from MODEL --run RUN",
)
app.command("unstir.cli.distill:distill", name="tune", help="The former name of distill.", show=False)
app.command("unstir.cli.evaluate:evaluate", name="evaluate", help="Measure a model against captioned pictures.")
app.command(
    "unstir.cli.compare:compare", name="compare", help="Train kinds of model for the same time and compare them."
)
app.command("unstir.cli.check:check", name="check", help="Validate captioned pictures before training.")
app.command("unstir.cli.clip:clip", name="clip", help="Compare pictures and words, search pictures.")


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for bad input (one sentence on stderr), 130 after Ctrl-C."""
    configure_threads()  # before any command imports torch
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, UserError) as error:
        print(f"unstir: {_sentence(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"unstir: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unstir: stopped", file=sys.stderr)
        return 130
    return 0


def _sentence(error: Exception) -> str:
    """The error on one line."""
    return " ".join(str(error).split())
