"""The data as a page: its first rows, classes, faults, pictures, and prompts with what is trained marked in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nbtrain.answers.check import FAULTS, Checked
from nbtrain.notebook.html import Markup, clip, fill, join
from nbtrain.notebook.pieces import header, listing, page, sentence, table
from nbtrain.notebook.shapes import short
from nbtrain.plain import number

_CELL, _PIECE, _TOLD = 300, 1500, 500  # bytes of HTML
_BAR = 160  # pixels
_CLASSES = 20
_ROWS = 3  # of train


def drawn(found: Checked) -> Markup:
    """All of it, in one page."""
    told = [line for line in found.told if not line.startswith("  ")]
    parts = [header("Check", found.name), listing(clip(line, _TOLD) for line in told)]
    parts += [*_faults(found), *_pictures(found), *_rendered(found), *_rows(found), *_classes(found)]
    return page(*parts)


def _faults(found: Checked) -> Iterator[Markup]:
    if found.faults:
        yield fill("<h4>Rows that cannot be used</h4>")
        yield table(
            ("where", "what", "what to do"),
            [(each.place or f"{each.split} row {each.row}", each.reason, each.fix) for each in found.faults[:FAULTS]],
            kind="said",
        )


def _rows(found: Checked) -> Iterator[Markup]:
    for split, rows in found.rows.items():
        # a picture says more of a row than its size does
        shown = rows[: _ROWS if split == "train" and not found.pictures else 1]
        if shown:
            yield fill("<h4>The first rows of $split</h4>", split=split)
        for row in shown:
            yield table((), [(role, clip(text, _CELL)) for role, text in row], kind="said")


def _classes(found: Checked) -> Iterator[Markup]:
    if not found.classes:
        return
    splits, totals = list(found.classes), {name: sum(counts.values()) for name, counts in found.classes.items()}
    names = sorted({name for counts in found.classes.values() for name in counts}, key=_rank(found.classes))
    highest = max(
        (found.classes[split].get(name, 0) / max(totals[split], 1) for split in splits for name in names), default=1.0
    )
    yield fill("<h4>What is learnt, by split</h4>")
    rows = []
    for name in names[:_CLASSES]:
        cells: list[object] = [clip(name, _CELL)]
        for split in splits:
            count = found.classes[split].get(name, 0)
            share = count / max(totals[split], 1)
            cells += [f"{number(count)} ({share:.1%})", _share(share / highest)]
        rows.append(cells)
    yield table(("", *(part for split in splits for part in (split, ""))), rows)
    if len(names) > _CLASSES:
        yield sentence(f"and {len(names) - _CLASSES} more")


def _rank(classes: Mapping[str, Mapping[str, int]]) -> Callable[[str], tuple[int, str]]:
    return lambda name: (-sum(counts.get(name, 0) for counts in classes.values()), name)


def _share(share: float) -> Markup:
    return fill(
        '<svg aria-hidden="true" viewBox="0 0 $whole 10" style="width:${whole}px;height:10px">'
        '<rect width="$wide" height="10" fill="var(--train,#3b82c4)"/></svg>',
        whole=_BAR,
        wide=short(_BAR * share),
    )


def _pictures(found: Checked) -> Iterator[Markup]:
    if found.pictures:
        yield fill("<h4>The first pictures of train</h4>")
        yield fill(
            '<div class="sheet">$pictures</div>',
            pictures=join(
                fill(
                    '<figure><img src="data:image/jpeg;base64,$letters" alt="$alt"/>'
                    "<figcaption>$told</figcaption></figure>",
                    letters=letters,
                    alt=f"picture {at}: {told}",
                    told=clip(told, _CELL),
                )
                for at, (told, letters) in enumerate(found.pictures, start=1)
            ),
        )


def _rendered(found: Checked) -> Iterator[Markup]:
    if found.rendered is None:
        return
    yield fill("<h4>As the model reads them</h4>")
    yield listing(found.rendered.lines)
    if any(marked for _, pieces in found.rendered.rows for _, marked in pieces):
        what = found.rendered.marked
        yield fill('<div><span class="learnt">Underlined</span> is $what; the rest is only read.</div>', what=what)
    for name, pieces in found.rendered.rows:
        trained = sum(len(text) for text, learnt in pieces if learnt)
        whole = sum(len(text) for text, _ in pieces) or 1
        shown = join(
            fill('<span class="$kind">$text</span>', kind="learnt" if learnt else "read", text=clip(text, _PIECE))
            for text, learnt in pieces
        )
        yield fill(
            '$name<div class="prompt" role="group" aria-label="$told">$shown</div>',
            name=fill('<div class="muted">$name</div>', name=name) if name else Markup(),
            told=f"{name or 'a row'}; {trained / whole:.0%} of its letters are underlined",
            shown=shown,
        )
