"""From a typed table to the matrix that a family of models takes; made of scikit-learn's own parts, kept with skops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from nbtrain.trainers.tabular.kinds import Column

if TYPE_CHECKING:
    import pandas

View = Literal["native", "filled", "matrix"]
"""native: numbers as they are, categories as codes, nothing filled. filled: the same without gaps. matrix: filled,
scaled, a column a category."""

_CODES = 254  # categories kept apart as codes; the others are read as one
_COLUMNS = 64  # the same where each is a column
_TEXT_PARTS = 16  # numbers that stand for a text


def rare_below(rows: int) -> int:
    """Rows that a category must have to be kept apart."""
    return 2 if rows < 1_000 else 5 if rows < 20_000 else 20


def preparer(view: View, columns: Iterable[Column], params: Any, rows: int) -> Any:
    """A ColumnTransformer that has seen nothing yet.

    Args:
        params: reads numerical_imputer, categorical_imputer, numeric_scaler, seed.
        rows: that it will be fitted to.
    """
    from sklearn.compose import ColumnTransformer

    columns = list(columns)
    numbers = [name for column in columns for name in _numbers(column)]
    categories = [column.name for column in columns if column.kind == "category"]
    texts = [column.name for column in columns if column.kind == "text"]
    steps: list[tuple[str, Any, Any]] = []
    if numbers:
        steps.append(("numbers", _for_numbers(view, params, rows), numbers))
    if categories:
        steps.append(("categories", _for_categories(view, params, rows), categories))
    steps += [(f"text {name}", _for_text(view, params), name) for name in texts]
    return ColumnTransformer(steps, sparse_threshold=0, verbose_feature_names_out=False)


def _numbers(column: Column) -> list[str]:
    if column.kind == "date":
        return [f"{column.name} {part}" for part in column.parts]
    return [column.name] if column.kind == "number" else []


def _for_numbers(view: View, params: Any, rows: int) -> Any:
    from sklearn import preprocessing
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    scalers = {"standard": "StandardScaler", "minmax": "MinMaxScaler", "robust": "RobustScaler"}
    asked = params.numerical_imputer or (None if view == "native" else "median")
    scaler = params.numeric_scaler or ("standard" if view == "matrix" else None)
    steps = []
    if asked:
        # a column without a value is kept, so that the columns of the matrix are known before
        steps.append(
            SimpleImputer(
                strategy="constant" if asked == "zero" else asked,
                fill_value=0.0 if asked == "zero" else None,
                keep_empty_features=True,
            )
        )
    if scaler == "normal":
        marks = min(1000, rows)
        steps.append(
            preprocessing.QuantileTransformer(n_quantiles=marks, output_distribution="normal", random_state=params.seed)
        )
    elif scaler:
        steps.append(getattr(preprocessing, scalers[scaler])())
    return make_pipeline(*steps) if steps else "passthrough"


def _for_categories(view: View, params: Any, rows: int) -> Any:
    import numpy
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    least = rare_below(rows)
    # a missing value ('') is a category like any other, unless it is to be filled
    filled = [SimpleImputer(missing_values="", strategy="most_frequent")] if params.categorical_imputer else []
    if view == "matrix":
        encoder: Any = OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=least, max_categories=_COLUMNS, sparse_output=False
        )
    else:
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=numpy.nan if view == "native" else -1,
            min_frequency=least,
            max_categories=_CODES,
        )
    return make_pipeline(*filled, encoder)


def _for_text(view: View, params: Any) -> Any:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = [
        HashingVectorizer(n_features=4096, alternate_sign=False),  # no vocabulary that could be empty, or grow
        TfidfTransformer(sublinear_tf=True),
        TruncatedSVD(_TEXT_PARTS, random_state=params.seed),
    ]
    return make_pipeline(*parts, *([StandardScaler()] if view == "matrix" else []))


def codes(view: View, columns: Iterable[Column]) -> tuple[int, ...]:
    """The places of the categories in the matrix, where they are codes: behind the numbers, as `preparer` puts them."""
    columns = list(columns)
    if view == "matrix":
        return ()
    first = sum(len(_numbers(column)) for column in columns)
    return tuple(range(first, first + sum(column.kind == "category" for column in columns)))


def notices(table: pandas.DataFrame, columns: Iterable[Column]) -> list[str]:
    """What becomes of missing values and rare categories, in words."""

    least, told = rare_below(len(table)), []
    gaps = {name: int(table[name].isna().sum()) for name in table if table[name].dtype.kind == "f"}
    gaps = {name: count for name, count in gaps.items() if count}
    if gaps:
        told.append(f"Missing numbers: {', '.join(f'{name} {count:,}' for name, count in gaps.items())}.")
    for column in columns:
        if column.kind == "category":
            counts: pandas.Series = table[column.name].value_counts()
            kept = int((counts >= least).sum())
            kept = min(kept, _CODES - 1) if len(counts) > _CODES else kept
            if len(counts) > kept + 1:
                told.append(
                    f"{column.name}: {len(counts):,} categories; {len(counts) - kept:,} rare ones are read as one."
                )
    return told
