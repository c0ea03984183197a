"""Tab, as it is pressed in a cell."""

import pytest

pytestmark = pytest.mark.browser

FRAMES = "import pandas\nquestions = pandas.DataFrame({'asked': ['a'], 'answered': ['b']})\nnumber = 3"


def offered(lab, index):
    """What the cell offers, or has put in where there is one thing only, after Tab at the end of its text."""
    before = lab.source(index)
    lab.complete(index)
    items = lab.page.locator(".jp-Completer:visible .jp-Completer-match")
    lab.until(lambda: items.count() or lab.source(index) != before, 30)
    words = items.all_inner_texts() or [lab.source(index)]
    lab.picture(f"completion-{index}")
    lab.page.keyboard.press("Escape")
    lab.until(lambda: not items.count())
    return words


def test_tab_offers_flags_values_variables_and_columns_in_the_line_and_in_the_cell(lab):
    lab.open(
        FRAMES,
        "%autotrain llm --tr",
        "run = %autotrain llm --trainer ",
        "%autotrain llm --df ",
        "%autotrain llm --df questions --text-column ",
        "%%autotrain llm --trainer sft\nl",
        "%%autotrain llm\ndata_path = ",
        "%autotrain ",
    )
    lab.run(1)
    assert {"--trainer", "--train-split"} <= set(offered(lab, 2))
    assert {"sft", "default"} <= set(offered(lab, 3))
    variables = offered(lab, 4)
    assert any("questions" in word for word in variables) and not any("number" in word for word in variables)
    assert {"asked", "answered"} <= set(offered(lab, 5))
    assert any(word.startswith("lr") for word in offered(lab, 6))
    assert any("questions" in word for word in offered(lab, 7))
    assert {"llm", "runs", "attach"} <= set(offered(lab, 8))
