"""What each column is: a number, a category, a date, a text, or nothing to learn from; and a table turned into that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nbtrain.errors import DataError, ParamError, listing, nearest

if TYPE_CHECKING:
    import pandas

Kind = Literal["number", "category", "date", "text"]
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A", "?")
"""Texts that say that nothing is there. "None" is not among them: it may be a category."""
_DATES = (
    "ISO8601", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y",
    "%d %b %Y", "%b %d, %Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S",
)  # fmt: skip
PARTS = ("year", "month", "day", "day_of_week", "hour", "days")
_MOSTLY = 0.95  # of the values of a column must be numbers, or dates, for the others to be read as missing
_CODE = re.compile(r"[+-]?0\d")  # 007 is a name, not a number
_WORDS = 4  # on the mean: a column of longer values that rarely repeat is text
_TEXTS = 50  # rows; fewer texts cannot be told apart by their words
_ID = re.compile(r"(?i)(.*[\W_])?(id|uid|uuid|guid|index|row|rownum|row_number|key)|unnamed: \d+|.*[a-z]I[Dd]")


@dataclass(frozen=True)
class Column:
    """A column that is learnt from. format: of a date. parts: of a date, those that differ between rows."""

    name: str
    kind: Kind
    format: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns of a table. left_out: name to the reason. notices: how values were read, where that is not plain."""

    used: tuple[Column, ...]
    left_out: Mapping[str, str]
    notices: tuple[str, ...]

    def of(self, *kinds: Kind) -> list[Column]:
        """Those of these kinds, in the table's order."""
        return [column for column in self.used if column.kind in kinds]

    def lines(self) -> list[str]:
        """What each column was taken for, for a screen."""
        plural = {"number": "Numbers", "category": "Categories", "date": "Dates", "text": "Texts"}
        told = [
            f"{plural[kind]}: {', '.join(column.name for column in self.of(kind))}." for kind in plural if self.of(kind)
        ]
        told += [f"Left out: {name} ({why})." for name, why in self.left_out.items()]
        return [*told, *self.notices]


def named(given: Any, frame: pandas.DataFrame, flag: str) -> list[str]:
    """The columns that a parameter names: a list, one name, or names with commas.

    Raises:
        DataError: one of them is not there; the nearest is named.
    """
    known = [str(name) for name in frame.columns]
    if isinstance(given, str):
        given = [given] if given in known else [part.strip() for part in given.split(",") if part.strip()]
    for name in given:
        if name not in known:
            what = f"There is no column {name!r}; there are {listing(known)}.{nearest(name, known)}"
            raise DataError(what, fix=f"Set {flag} to one of them.")
    return list(dict.fromkeys(given))


def infer(frame: pandas.DataFrame, params: Any, aside: Iterable[str]) -> Columns:
    """Take each column for what its values say, or for what the parameters say.

    Args:
        params: reads categorical_columns, numerical_columns.
        aside: columns that are no features: targets, an id.

    Raises:
        DataError: a column is named that there is not, or that is a target; no column is left to learn from.
        ParamError: a column is said to be both.
    """
    flags = {"category": "--categorical-columns", "number": "--numerical-columns"}
    given = {"category": params.categorical_columns or (), "number": params.numerical_columns or ()}
    forced: dict[str, Kind] = {}
    aside = set(aside)
    for kind, flag in flags.items():
        for name in named(given[kind], frame, flag):
            if name in aside:
                raise DataError(f"{name!r} is a target or the id, and named in {flag}.", fix="Name it once.")
            if name in forced:
                raise ParamError(f"{name!r} stands in --categorical-columns and in --numerical-columns")
            forced[name] = kind  # type: ignore[assignment]
    used, left_out, notices = list[Column](), dict[str, str](), list[str]()
    for name in frame.columns:
        if name in aside:
            continue
        found = _judge(frame[name], forced.get(name), notices)
        if isinstance(found, str):
            left_out[str(name)] = found
        else:
            used.append(found)
    if not used:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise DataError("No column is left to learn from.", why=reasons, fix="Give data with features.")
    return Columns(tuple(used), left_out, tuple(notices))


def _judge(values: pandas.Series, forced: Kind | None, notices: list[str]) -> Column | str:
    """The column, or why it is left out."""
    import pandas

    name = str(values.name)
    if values.dtype == object and any(isinstance(value, (list, tuple, dict, bytes)) for value in values.head(100)):
        return "its values are lists or other structures"
    texts = texts_of(values)
    present = texts[texts != ""]
    if present.empty:
        return "every value is missing"
    if present.nunique() == 1 and len(present) == len(texts):
        return f"constant: {present.iloc[0][:40]}"
    if forced == "category":
        return Column(name, "category")
    if pandas.api.types.is_datetime64_any_dtype(values.dtype):
        return _date(values, "")
    numbers, readable = _readable_numbers(values, texts, present)
    if forced == "number" or (readable >= _MOSTLY and not (readable < 1 and _as_date(present))):
        _tell_of_numbers(name, numbers, present, notices)
        return _number_or_id(name, numbers, present, forced)
    found = _as_date(present)
    if found:
        return _date(values, found, notices)
    return _category_or_text(name, present)


def _readable_numbers(values: pandas.Series, texts: pandas.Series, present: pandas.Series) -> tuple[Any, float]:
    """The values as numbers, and the share of those present that are some."""
    import pandas

    if pandas.api.types.is_bool_dtype(values.dtype):
        return values.astype(float), 0.0  # yes and no are categories
    numbers = numbers_of(values)
    if not pandas.api.types.is_numeric_dtype(values.dtype) and present.str.match(_CODE).any():
        return numbers, 0.0
    return numbers, float(numbers[texts != ""].notna().sum() + _infinite(values)) / len(present)


def _infinite(values: pandas.Series) -> int:
    import numpy
    import pandas

    return int(numpy.isinf(pandas.to_numeric(values, errors="coerce").astype(float)).sum())


def _tell_of_numbers(name: str, numbers: pandas.Series, present: pandas.Series, notices: list[str]) -> None:
    strange = present[numbers[present.index].isna()]
    if len(strange):
        shown = ", ".join(repr(value[:20]) for value in strange.unique()[:3])
        notices.append(f"{name}: {len(strange):,} values are no numbers ({shown}); they are read as missing.")


def _number_or_id(name: str, numbers: pandas.Series, present: pandas.Series, forced: Kind | None) -> Column | str:
    whole = numbers.dropna()
    if whole.empty:
        raise DataError(f"{name} is named in --numerical-columns and holds no number.", fix="Leave it out there.")
    if forced is None and len(present) > 1 and whole.is_unique and (whole % 1 == 0).all():
        in_steps = abs(float(whole.max() - whole.min())) == len(whole) - 1
        if in_steps and len(whole) == len(numbers) > 20 or (_ID.fullmatch(name) and len(whole) > 20):
            return "an id: each row has a number of its own"
    return Column(name, "number")


def _category_or_text(name: str, present: pandas.Series) -> Column | str:
    distinct = present.nunique()
    words = present.head(1000).str.count(r"\s+").mean() + 1
    if words >= _WORDS and distinct > 0.3 * len(present) and len(present) >= _TEXTS:
        return Column(name, "text")
    if distinct == len(present) > 20:
        return "an id: each row has a value of its own"
    return Column(name, "category")


def _as_date(present: pandas.Series) -> str:
    """The format in which nearly all of these texts are dates, '' where there is none."""
    import pandas

    looks = present.str.match(r".*\d.*[-/.\s:,].*\d") & present.str.len().between(6, 35)
    if looks.mean() < _MOSTLY:
        return ""
    distinct = pandas.Series(present.unique())
    for form in _DATES:
        if pandas.to_datetime(distinct, format=form, errors="coerce", utc=True).notna().mean() >= _MOSTLY:
            return form
    return ""


def _date(values: pandas.Series, form: str, notices: list[str] | None = None) -> Column:
    name = str(values.name)
    moments = parts_of(values, form)
    if notices is not None:
        lost = int((texts_of(values) != "").sum() - moments["days"].notna().sum())
        if lost:
            notices.append(f"{name}: {lost:,} values are no dates ({form}); they are read as missing.")
        if form in ("%m/%d/%Y", "%m/%d/%y") and moments["day"].max() <= 12:
            notices.append(f"{name}: read as month/day/year; no day is above 12, so it may be day/month/year.")
    varying = tuple(part for part in PARTS if moments[part].nunique() > 1)
    return Column(name, "date", form, varying or ("days",))


def texts_of(values: pandas.Series) -> pandas.Series:
    """The values as texts without space round them; '' where nothing is there. A whole number is written as one."""
    import pandas

    if isinstance(values.dtype, pandas.CategoricalDtype):
        values = values.astype(object)
    if pandas.api.types.is_float_dtype(values.dtype):
        present = values.dropna()
        if (present % 1 == 0).all() and (present.abs() < 2**53).all():
            values = values.astype("Int64")
    texts = values.astype(object).map(_text, na_action="ignore")
    return texts.where(texts.notna() & ~texts.isin(MISSING), "").astype(object)


def _text(value: Any) -> str:
    # 1.0 among texts (a mixed column) is the category 1
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def numbers_of(values: pandas.Series) -> pandas.Series:
    """The values as float64; what is no number, or infinite, is missing."""
    import numpy
    import pandas

    if isinstance(values.dtype, pandas.CategoricalDtype):
        values = values.astype(object)
    numbers = pandas.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(numpy.isfinite(numbers))


def parts_of(values: pandas.Series, form: str) -> pandas.DataFrame:
    """A date as numbers: year, month, day, day of the week (Monday 0), hour, and days since 1970 with their fraction.

    Args:
        form: of the texts, as pandas.to_datetime takes it; '' where they are moments already.
    """
    import pandas

    # a value with an offset is the same moment in UTC
    texts = values.where(texts_of(values) != "") if form else values
    moments = pandas.to_datetime(texts, format=form or None, errors="coerce", utc=True)
    days = (moments - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
    found = {
        name: getattr(moments.dt, name).astype("float64") for name in ("year", "month", "day", "day_of_week", "hour")
    }
    return pandas.DataFrame(found | {"days": days.astype("float64")})


def typed(frame: pandas.DataFrame, columns: Iterable[Column]) -> pandas.DataFrame:
    """The table as it is learnt from: numbers as float64, dates as their parts, categories and texts as texts.

    A column that a row lacks is an error; columns that were not there in training are passed over.

    Raises:
        DataError: a column is missing.
    """
    import pandas

    columns = list(columns)
    if missing := [column.name for column in columns if column.name not in frame.columns]:
        known = ", ".join(map(str, frame.columns))
        raise DataError(f"These rows have no column {', '.join(map(repr, missing))}; they have {known}.")
    found: dict[str, Any] = {}
    for column in columns:
        values = frame[column.name]
        if column.kind == "number":
            found[column.name] = numbers_of(values)
        elif column.kind == "date":
            parts = parts_of(values, column.format)
            found |= {f"{column.name} {part}": parts[part] for part in column.parts}
        else:
            found[column.name] = texts_of(values)
    return pandas.DataFrame(found, index=frame.index)
