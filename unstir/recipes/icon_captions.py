"""Several ways to say what a picture shows, from its name, synonyms and style."""

from collections.abc import Mapping


def icon_captions(plain: str, meta: Mapping[str, object]) -> tuple[str, ...]:
    """Captions of one icon, the plain one first, from the fields `name`, `tags` and `phrase` of its metadata.

    One in six is drawn from synonyms alone, the others carry the name: mostly what the thing is called, sometimes
    what else one might call it. Without these fields: the plain caption alone.
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
