"""Texts whose tokens have tags: entities in BIO, parts of speech, slots; the forms in which they come."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import columns
from nbtrain.data.forms import text
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

ROLES: columns.Roles = {
    "tokens": ("tokens", "words", "text", "sentence"),
    "tags": ("tags", "ner_tags", "labels", "slots", "slot_tags", "upos", "pos_tags", "pos", "chunk_tags", "tag", "ner"),
}
_BIO = re.compile(r"[BI]-(.+)")
_NUMPY = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_MOST = 2_000  # tags; more are no tags
_ROWS = 1_000


class Tagged(NamedTuple):
    """One row: its tokens and the tag of each."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


class Entity(NamedTuple):
    """A piece of a row. start, end: tokens, end not in it."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`.

    names: the tags in the order of their numbers. known: names of the numbers that stand in the cells, where the data
    say them. orphans: training rows in which an I- has no B- before it. unlearnt: tags that only held-out rows have.
    """

    columns: Mapping[str, str]
    names: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    orphans: int = 0
    unlearnt: tuple[str, ...] = ()

    @property
    def entities(self) -> bool:
        """Whether the tags are in BIO, so that neighbouring ones make an entity."""
        return is_bio(self.names)

    def __str__(self) -> str:
        what = "entities in BIO" if self.entities else "a tag for each token"
        named = ", ".join(role if role == column else f"{role} from {column}" for role, column in self.columns.items())
        return f"{what}: {named}"

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The row as (role, text); see `check.Form`."""
        read = self.read(row)
        return (("tokens", " ".join(read.tokens)), ("tags", " ".join(read.tags)))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        kinds = sorted({match[1] for name in self.names if (match := _BIO.fullmatch(name))})
        shown = kinds if self.entities else self.names
        found = [f"{len(shown)} {'kinds of entities' if self.entities else 'tags'}: {', '.join(shown[:40])}."]
        if self.orphans:
            found.append(
                f"In {self.orphans:,} rows an I- has no B- before it: it is read as the beginning of an entity."
            )
        if self.unlearnt:
            shown = ", ".join(self.unlearnt[:10]) + ", ..." * (len(self.unlearnt) > 10)
            found.append(f"Only held-out rows have the tags {shown}: they cannot be learnt, and count as mistakes.")
        return found

    def read(self, row: Mapping[str, Any]) -> Tagged:
        """The row as tokens and tags.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        tokens = self.tokens(row)
        column = self.columns["tags"]
        tags = _listed(row[column], column)
        if len(tags) != len(tokens):
            what = f"{len(tokens)} tokens and {len(tags)} tags"
            raise DataError(what, where=column, fix="Give each token one tag.")
        return Tagged(tokens, tuple(self._tag(tag, column) for tag in tags))

    def tokens(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The tokens of a row, which may have no tags.

        Raises:
            DataError: there are none, or one is empty or no text.
        """
        column = self.columns["tokens"]
        tokens = _listed(row[column], column)
        if not tokens:
            raise DataError("no tokens", where=column, fix="Remove the row.")
        for at, token in enumerate(tokens, start=1):
            try:
                text(token, column)
            except DataError as error:
                raise DataError(f"token {at}: {error.what}", where=column, fix="Remove it and its tag.") from None
        return tuple(tokens)

    def marked(self, tokens: Sequence[str], found: Sequence[str]) -> str:
        """A text with its entities in brackets, "fly to [New York: city]"; or with the tag behind each token."""
        if not self.entities:
            return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, found, strict=False))
        parts, at = list[str](), 0
        for entity in entities(found):
            parts += [*tokens[at : entity.start], f"[{' '.join(tokens[entity.start : entity.end])}: {entity.kind}]"]
            at = entity.end
        return " ".join([*parts, *tokens[at:]])

    def _tag(self, tag: Any, column: str) -> str:
        found = named(tag, self.known)
        if found is None or (self.names and found not in self.names):
            raise DataError(f"no tag: {tag!r}", where=column, fix="Write a name or a number of the tags there are.")
        return found


def recognise(
    dataset: Dataset,
    mapping: Mapping[str, str] | None = None,
    named_columns: Mapping[str, str] | None = None,
    *,
    held_out: Dataset | None = None,
) -> Form:
    """The columns by the user's word, and else by their usual names; and the tags that the rows have.

    Args:
        mapping: role to column, as --column-mapping has it.
        named_columns: role to column, from flags of their own; they go before the mapping.
        held_out: its tags count, too: a rare one may stand there alone.

    Raises:
        DataError: a role has no column, or one that the user names is not there, or the tags are none.
    """
    names = dataset.column_names
    found = columns.find(names, ROLES, {**(mapping or {}), **(named_columns or {})})
    if lacking := [role for role in ROLES if role not in found]:
        what = f"There is no column for the {' and the '.join(lacking)}; there are {listing(names)}."
        raise DataError(what, fix="Name it: --tokens-column, --tags-column.")
    known = _known(dataset, found["tags"])
    column = found["tags"]
    seen, orphans = _seen(dataset, column, known)
    more = _seen(held_out, column, known)[0] if held_out is not None and column in held_out.column_names else set()
    if not seen or len(seen) > _MOST:
        what = f"Column {column} has {len(seen):,} different tags."
        raise DataError(what, fix="Name the column that holds a tag for each token: --tags-column.")
    unlearnt = tuple(sorted(more - seen))
    return Form(found, _ordered(seen | more, known), known, orphans if is_bio(seen) else 0, unlearnt)


def is_bio(names: Sequence[str] | set[str]) -> bool:
    """Whether these tags mark entities."""
    return any(_BIO.fullmatch(name) for name in names) and all(name == "O" or _BIO.fullmatch(name) for name in names)


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that tags mark; an I- that goes on with nothing begins one."""
    found: list[Entity] = []
    for at, tag in enumerate(tags):
        match = _BIO.fullmatch(tag)
        if match is None:
            continue
        goes_on = tag.startswith("I-") and found and found[-1].end == at and found[-1].kind == match[1]
        if goes_on:
            found[-1] = found[-1]._replace(end=at + 1)
        else:
            found.append(Entity(match[1], at, at + 1))
    return found


def named(tag: Any, known: Sequence[str]) -> str | None:
    """The name of a tag, None where it has none."""
    if isinstance(tag, bool) or tag is None:
        return None
    if isinstance(tag, str) and not tag.strip().isdigit():
        return tag.strip() or None
    try:
        number = int(tag)
    except (TypeError, ValueError):
        return None
    if not known:
        return str(number)
    return known[number] if 0 <= number < len(known) else None


def _known(dataset: Dataset, column: str) -> tuple[str, ...]:
    """The names that a column of class numbers says they have."""
    kind: Any = dataset.features[column]
    return tuple(getattr(getattr(kind, "feature", kind), "names", None) or ())


def _seen(dataset: Dataset, column: str, known: Sequence[str]) -> tuple[set[str], int]:
    """The tags of all rows, and in how many rows an I- has no B-; rows that cannot be read are judged later."""
    seen, orphans = set[str](), 0
    for batch in dataset.select_columns([column]).iter(_ROWS):
        for value in batch[column]:
            tags = list(_tags(value, column, known))
            seen.update(tags)
            before = ["O", *tags]
            orphans += any(
                tag.startswith("I-") and before[at][1:] != tag[1:] for at, tag in enumerate(tags) if _BIO.fullmatch(tag)
            )
    return seen, orphans


def _tags(value: Any, column: str, known: Sequence[str]) -> Iterator[str]:
    try:
        listed = _listed(value, column)
    except DataError:
        return
    yield from (name for tag in listed if (name := named(tag, known)) is not None)


def _ordered(seen: set[str], known: Sequence[str]) -> tuple[str, ...]:
    if known:
        return tuple(known)
    if all(name.isdigit() for name in seen):
        return tuple(str(number) for number in range(max(map(int, seen)) + 1))
    # O first, then the kinds, of each B- before I-
    return tuple(sorted(seen, key=lambda name: (name != "O", name[2:] if _BIO.fullmatch(name) else name, name)))


def _listed(value: Any, column: str) -> list[Any]:
    """The list in a cell: a list, the text of one (JSON, Python, numpy), or words with spaces between them."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if not isinstance(value, str):
        raise DataError(f"a list is expected, found {type(value).__name__}", where=column, fix='Write ["...", "..."].')
    if not (value.strip().startswith("[") and value.strip().endswith("]")):
        return value.split()
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value)
        except (ValueError, SyntaxError, RecursionError):
            continue
        # Python joins texts that stand side by side: numpy writes no commas
        if isinstance(found, list) and ("," in value or len(found) < 2) and not _beside(value):
            return found
    return [one or other for one, other in _NUMPY.findall(value)] or value.strip()[1:-1].split()


def _beside(value: str) -> bool:
    return re.search(r"['\"]\s+['\"]", value) is not None and re.search(r"['\"]\s*,", value) is None
