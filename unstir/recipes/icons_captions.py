"""Several captions of an icon, from its name, synonyms and style."""

from collections.abc import Mapping


def icon_captions(plain: str, meta: Mapping[str, object]) -> tuple[str, ...]:
    """Captions of one icon, the plain one first.

    plain: its plain caption.
    meta: its metadata; used are `name`, `tags` and `phrase`. Without them there is only the plain caption.
    Returns one caption of synonyms alone, if there are any; all others contain the name.
    """
    name, phrase, tags = meta.get("name"), meta.get("phrase"), meta.get("tags")
    if not (isinstance(name, str) and isinstance(phrase, str)):
        return (plain,)
    synonyms = [tag for tag in tags if isinstance(tag, str) and tag != name] if isinstance(tags, list) else []
    ways = [plain, f"{name}, {phrase}", f"{name} {phrase}", f"{phrase} {name}", f"{name} in {phrase} style"]
    ways += [f"{tag} {name}, {phrase}" for tag in synonyms[:2]]
    if len(synonyms) > 1:
        ways.append(f"{' '.join(synonyms[:3])}, {phrase}")
    return tuple(ways)
