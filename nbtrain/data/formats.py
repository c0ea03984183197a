"""Each file format as a stream of rows.

Rows come as (number in the file, row, characters); a row that cannot be read comes as `Unreadable` in the row's place,
so that one bad line neither ends the reading nor goes unseen. Column formats come as Arrow batches.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data.arrows import refuse_twins
from nbtrain.data.conll import read_conll, read_conllu
from nbtrain.data.decoding import Numbered, Unreadable, open_text
from nbtrain.data.json_rows import read_json, read_lines
from nbtrain.errors import DataError, MissingExtra

if TYPE_CHECKING:
    import pyarrow as pa

DOCUMENT = 2_000  # characters, about 500 tokens: a document of running text ends at the next blank line
LONGEST_DOCUMENT = 8_000  # characters: text without blank lines ends a document at the next line


def read_csv(path: Path) -> Numbered:
    """CSV with a header, every cell as text (007 stays 007); the delimiter is the commonest in the header."""
    return _read_delimited(path, None)


def read_tsv(path: Path) -> Numbered:
    """The same with tabs."""
    return _read_delimited(path, "\t")


def _read_delimited(path: Path, delimiter: str | None) -> Numbered:
    csv.field_size_limit(2**31 - 1)  # the csv module's own limit is 128 kB a cell
    with open_text(path, newline="") as file:
        header = file.readline()
        mark = delimiter or max(",;\t|", key=header.count)
        reader = csv.reader(itertools.chain([header], file), delimiter=mark, strict=True)
        names = _header(next(reader, []))
        number = 0
        while True:
            began = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error):
                    what = f"{path.name}: a quote that opens in line {began} is never closed."
                    fix = 'Close it, or write quotes inside a cell twice ("").'
                    raise DataError(what, where=f"{path}, line {began}", fix=fix) from None
                number += 1
                yield number, Unreadable(f"not CSV: {error}", 'Write quotes inside a cell twice ("").'), 0
                continue
            if not cells:
                continue
            number += 1
            if len(cells) != len(names):
                reason = f"{len(cells)} cells where the header has {len(names)}"
                yield number, Unreadable(reason, f"Put quotes round a cell that holds {mark!r} or a newline."), 0
            else:
                yield number, dict(zip(names, cells, strict=True)), sum(map(len, cells))


def _header(cells: list[Any]) -> list[str]:
    names = [str(cell or "").strip() or f"column {at}" for at, cell in enumerate(cells, start=1)]
    refuse_twins(names)
    return names


def read_sheet(path: Path) -> Numbered:
    """The first sheet of a workbook; its first row is the header, every cell text."""
    try:
        import openpyxl
    except ImportError:
        raise MissingExtra("Reading .xlsx needs openpyxl.", fix="pip install openpyxl") from None
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = _header(list(next(rows, ())))
        for number, cells in enumerate(rows, start=1):
            texts = ["" if cell is None else str(cell) for cell in cells]
            if any(texts):
                yield number, dict(zip(names, texts, strict=False)), sum(map(len, texts))
    finally:
        book.close()


def read_text(path: Path) -> Numbered:
    """Running text as documents, in order, nothing left out: joined again they are the file.

    Paragraphs (what blank lines part) are gathered until a document has 2,000 characters; it then ends before the next
    paragraph. Text without blank lines ends a document at the first line after 8,000 characters.
    """
    with open_text(path) as file:
        number, lines, size, blank = 0, list[str](), 0, False
        # a line longer than that (a file without newlines) comes in pieces
        while line := file.readline(1 << 16):
            ends = (blank and line.strip() and size >= DOCUMENT) or size >= LONGEST_DOCUMENT
            if ends:
                number += 1
                yield number, {"text": "".join(lines)}, size
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            blank = not line.strip()
        if size and not all(line.isspace() for line in lines):
            yield number + 1, {"text": "".join(lines)}, size


def read_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    """Parquet, a thousand rows at a time."""
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path, memory_map=True) as file:
        for batch in file.iter_batches(batch_size=1_000):
            yield batch.replace_schema_metadata(file.schema_arrow.metadata)


def read_arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """Arrow: Feather, the file format or the stream format."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)
        else:
            yield from (file.get_batch(at) for at in range(file.num_record_batches))


class Format(NamedTuple):
    """How a file is read. unit: what its rows are called. read: gives numbered rows, or Arrow batches."""

    unit: str
    read: Callable[[Path], Any]


FORMATS = {
    ".jsonl": Format("line", read_lines),
    ".ndjson": Format("line", read_lines),
    ".json": Format("row", read_json),
    ".csv": Format("row", read_csv),
    ".tsv": Format("row", read_tsv),
    ".xlsx": Format("row", read_sheet),
    ".txt": Format("document", read_text),
    ".conll": Format("sentence", read_conll),
    ".iob": Format("sentence", read_conll),
    ".bio": Format("sentence", read_conll),
    ".conllu": Format("sentence", read_conllu),
    ".parquet": Format("row", read_parquet),
    ".arrow": Format("row", read_arrow),
    ".feather": Format("row", read_arrow),
}
BY_COLUMN = (read_parquet, read_arrow)
PACKED = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt")


def suffix(path: Path) -> str:
    """The ending that says how a file is read, `.gz` left out; "" where there is no reader for it."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] == ".gz":
        endings = [ending for ending in endings[:-1] if ending in PACKED]
    return endings[-1] if endings and endings[-1] in FORMATS else ""
