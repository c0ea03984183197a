"""Tab, as it is pressed in a cell."""

import pytest

pytestmark = pytest.mark.browser

FRAMES = "import pandas\nquestions = pandas.DataFrame({'asked': ['a'], 'answered': ['b']})\nnumber = 3"


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
    assert {"--trainer", "--train-split"} <= set(lab.complete(2))
    assert {"sft", "default"} <= set(lab.complete(3))
    variables = lab.complete(4)
    assert any("questions" in word for word in variables) and not any("number" in word for word in variables)
    assert {"asked", "answered"} <= set(lab.complete(5))
    assert any(word.startswith("lr") for word in lab.complete(6))
    assert any("questions" in word for word in lab.complete(7))
    assert {"llm", "runs", "attach"} <= set(lab.complete(8))
