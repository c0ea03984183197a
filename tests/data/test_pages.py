"""Pages of mapped rows that are handed back."""

import datasets

from nbtrain.data.pages import let_go

ROWS = [{"text": f"Row {number}."} for number in range(5_000)]


def test_rows_whose_pages_were_handed_back_are_read_again(tmp_path):
    path = str(tmp_path / "rows")
    datasets.Dataset.from_list(ROWS).save_to_disk(path)
    rows = datasets.load_from_disk(path)
    before = rows[:]
    let_go(rows)
    assert rows[:] == before
