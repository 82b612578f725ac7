"""Command-line options generated from the settings: a new setting becomes an option automatically."""

from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter

from unstir.settings import Setting, Settings


def all_settings() -> dict[str, tuple[Any, Setting]]:
    """Every setting of every kind of model: its type and its `Setting`, by the name of the field."""
    found: dict[str, tuple[Any, Setting]] = {}
    for kind in _kinds(Settings):
        hints = get_type_hints(kind)
        for name, known in kind.table().items():
            found.setdefault(name, (hints[name], known))
    return found


def _kinds(parent: type[Settings]) -> list[type[Settings]]:
    return [kind for child in parent.__subclasses__() for kind in (child, *_kinds(child))]


def setting_options(*leave_out: str) -> type:
    """A dataclass of options for a parameter of a command: one for each setting, None unless it is given.

    leave_out: settings without an option.
    """
    made = []
    for name, (hint, known) in all_settings().items():
        if name in leave_out:
            continue
        choices = f" One of {', '.join(known.choices)}." if known.choices else ""
        parameter = Parameter(
            name=f"--{known.option or name.replace('_', '-')}",
            help=f"{known.help}{choices}",
            show_default=False,
            negative=(),
        )
        made.append((name, Annotated[hint | None, parameter], field(default=None)))
    options = make_dataclass("SettingOptions", made, frozen=True)
    options.__module__ = __name__  # with the module that make_dataclass sets, cyclopts does not find the fields
    return Parameter(name="*")(options)


def given(options: Any) -> dict[str, Any]:
    """The settings that were given on the command line."""
    assert is_dataclass(options)
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: value for name, value in values.items() if value is not None}
