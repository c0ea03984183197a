"""Rows written to one Arrow file as they come: memory does not grow with their number."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nbtrain.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # of pictures that PNG has


class Writer:
    """Writes batches whose columns and types may differ, and ends with one file of one schema.

    A column whose values have no common type (text in one row, a number in the next) is stored as JSON, so that each
    value comes back as it was. The file appears under its name only when it is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._parts: list[tuple[Path, pa.Schema]] = []
        self._writer: Any = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is None and self._parts:
            self._join()
        for part, _ in self._parts:
            part.unlink(missing_ok=True)

    def rows(self, rows: Sequence[Row]) -> None:
        """Add rows; a column that a row lacks is null there.

        Raises:
            UnicodeEncodeError: a text holds half a surrogate pair; nothing of the batch is written.
        """
        import pyarrow as pa

        names = list(dict.fromkeys(name for row in rows for name in row))
        self.batch(pa.record_batch([_column([row.get(name) for row in rows]) for name in names], names=names))

    def batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch.

        Raises:
            DataError: two columns have the same name.
        """
        import pyarrow as pa

        refuse_twins(batch.schema.names)
        batch = plain(batch)
        old = self._parts[-1][1] if self._parts else batch.schema
        schema = old if old.equals(batch.schema) else _merged(old, batch.schema)
        if self._writer is None or not schema.equals(old):
            if self._writer is not None:
                self._writer.close()
            part = self.path.with_name(f"{self.path.name}.{os.getpid()}.{len(self._parts)}")
            self._parts.append((part, schema))
            self._writer = pa.ipc.new_stream(str(part), _with_features(schema))
        self._writer.write_batch(_conformed(batch, schema))
        self.count += batch.num_rows

    def _join(self) -> None:
        import pyarrow as pa

        (first, _), schema = self._parts[0], self._parts[-1][1]
        if len(self._parts) > 1:
            joined = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            with pa.ipc.new_stream(str(joined), _with_features(schema)) as writer:
                for part, _ in self._parts:
                    with pa.memory_map(str(part)) as source:
                        for batch in pa.ipc.open_stream(source):
                            writer.write_batch(_conformed(batch, schema))
            first = joined
        # a process that has the old file mapped keeps it: replaced, never written over
        os.replace(first, self.path)


def table(rows: Sequence[Row], schema: pa.Schema | None = None) -> pa.Table:
    """Some rows in memory; a column that a row lacks is null there. schema: where it is known.

    Raises:
        UnicodeEncodeError: a text holds half a surrogate pair.
    """
    import pyarrow as pa

    if schema is not None:
        return pa.Table.from_pylist(rows, schema=schema)
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = pa.table([_column([row.get(name) for row in rows]) for name in names], names=names)
    return found.replace_schema_metadata(_with_features(found.schema).metadata)


def refuse_twins(names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise DataError(
            f"Each column needs a name of its own; found more than once: {', '.join(map(repr, twins))}.",
            fix="Rename or remove one of them.",
        )


def _column(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return _as_pictures(values) if any(map(_is_picture, values)) else _as_json(values)


def _is_picture(value: Any) -> bool:
    """Whether it is Pillow's, which is not imported for this."""
    return any(base.__module__ == "PIL.Image" for base in type(value).__mro__)


def _as_pictures(values: list[Any]) -> pa.Array:
    """Pictures of a notebook as files have them: {bytes, path}, without loss."""
    import io

    import pyarrow as pa

    found = []
    for value in values:
        file = io.BytesIO()
        if _is_picture(value):
            (value if value.mode in _MODES else value.convert("RGB")).save(file, "PNG")
        name = getattr(value, "filename", "") or None
        found.append({"bytes": file.getvalue(), "path": name} if file.tell() else None)
    return pa.array(found, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _as_json(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    texts = [None if value is None else json.dumps(value, default=str) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without dictionary columns (pandas' categories), whose codes differ from batch to batch."""
    import pyarrow as pa

    for index, item in enumerate(batch.schema):
        if pa.types.is_dictionary(item.type):
            batch = batch.set_column(index, item.name, batch.column(index).dictionary_decode())
    return batch


def _merged(old: pa.Schema, new: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    fields = {item.name: item for item in old}
    for item in new:
        known = fields.setdefault(item.name, item)
        try:
            fields[item.name] = pa.unify_schemas(
                [pa.schema([known]), pa.schema([item])], promote_options="permissive"
            ).field(0)
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            fields[item.name] = pa.field(item.name, pa.json_())
    return pa.schema(list(fields.values()), metadata=old.metadata if list(fields.values()) == list(old) else None)


def _with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with what `datasets` needs to decode JSON columns; what a file says of its own pictures is kept."""
    import pyarrow as pa

    if b"huggingface" in (schema.metadata or {}) or not any(isinstance(item.type, pa.JsonType) for item in schema):
        return schema
    try:
        from datasets import Features
    except ImportError:  # a room of tables does without, and decodes them itself
        return schema
    return schema.with_metadata(Features.from_arrow_schema(schema).arrow_schema.metadata)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    if batch.schema.equals(schema):
        return batch
    columns = []
    for item in schema:
        at = batch.schema.get_field_index(item.name)
        if at < 0:
            columns.append(pa.nulls(batch.num_rows, item.type))
        elif batch.column(at).type.equals(item.type):
            columns.append(batch.column(at))
        elif isinstance(item.type, pa.JsonType):
            columns.append(_as_json(batch.column(at).to_pylist()))
        else:
            columns.append(pa.array(batch.column(at).to_pylist(), item.type))
    return pa.record_batch(columns, schema=schema)
