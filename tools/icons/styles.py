"""The sixteen styles of the icon data: ids, phrases in captions, licences and sources."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Style:
    """One style, with the fields of its drawings' metadata.

    family: styles of one family are by the same artists.
    phrase: names the style in captions.
    kind: what the drawings show; the first part of a concept.
    ink: drawn in one colour, so that lossless files stay small.
    """

    id: str
    family: str
    phrase: str
    kind: Literal["emoji", "icon"]
    licence: str
    source: str
    ink: bool = False


def _fluent(id: str, phrase: str, ink: bool = False) -> Style:  # noqa: A002
    return Style(id, "fluent", phrase, "emoji", "MIT", "Microsoft Fluent Emoji", ink)


def _phosphor(id: str, phrase: str) -> Style:  # noqa: A002
    return Style(id, "phosphor", phrase, "icon", "MIT", "Phosphor Icons", ink=True)


STYLES = (
    _fluent("fluent-3d", "fluent 3d"),
    _fluent("fluent-color", "fluent gradient"),
    _fluent("fluent-flat", "fluent flat"),
    _fluent("fluent-high-contrast", "fluent black and white", ink=True),
    Style("noto", "noto", "noto", "emoji", "Apache-2.0", "Google Noto Emoji"),
    Style("blob", "noto", "blob", "emoji", "Apache-2.0", "Google Blob Emoji"),
    Style("twemoji", "twemoji", "twemoji", "emoji", "CC-BY-4.0", "Twitter Twemoji"),
    Style("fxemoji", "fxemoji", "firefox", "emoji", "CC-BY-4.0", "Mozilla FxEmojis"),
    Style("emojitwo", "emojitwo", "emojitwo", "emoji", "CC-BY-4.0", "EmojiTwo"),
    Style("emojitwo-outline", "emojitwo", "outline", "emoji", "CC-BY-4.0", "EmojiTwo", ink=True),
    _phosphor("phosphor-light", "phosphor thin line icon"),
    _phosphor("phosphor-bold", "phosphor bold line icon"),
    _phosphor("phosphor-fill", "phosphor solid icon"),
    _phosphor("phosphor-duotone", "phosphor duotone icon"),
    Style("lucide", "lucide", "lucide line icon", "icon", "ISC", "Lucide", ink=True),
    Style("material", "material", "material icon", "icon", "Apache-2.0", "Material Design Icons", ink=True),
)

STYLES_BY_ID = {style.id: style for style in STYLES}
