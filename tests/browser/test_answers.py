"""What the verbs answer, as a reader of the page sees it: data, plan, rates, runs beside each other, a chat."""

import pytest

RUN = "%autotrain llm --trainer sft --max-samples 48 --batch-size 4 --max-steps 8 --sample-max-new-tokens 8"

pytestmark = pytest.mark.browser


@pytest.fixture
def look(lab):
    """Runs a cell and keeps a picture of it; the text of its output."""

    def looked(index, name, seconds=120):
        lab.run(index, seconds)
        cell = lab.cell(index)
        cell.scroll_into_view_if_needed()
        lab.until(lambda: cell.locator(".nbtrain").count(), 20)
        lab.page.wait_for_timeout(300)
        cell.screenshot(path=str(lab.pictures() / f"{name}.png"))
        return lab.text(index)

    return looked


def test_answers_are_drawn_in_their_cells(lab, look):
    lab.open(
        "%autotrain check llm --trainer sft --max-samples 48",
        "%autotrain check object-detection",
        f"{RUN} --project-name one",
        f"{RUN} --project-name two --lr 0.01",
        "%autotrain compare one two",
        "%autotrain runs",
        "%autotrain plan llm --trainer sft --max-samples 48 --batch-size 4",
        "%autotrain lr-find llm --trainer sft --max-samples 48 --batch-size 4 --steps 30 --lowest 1e-5 --highest 10",
    )
    data = look(1, "check-chats")
    assert "is what is trained; the rest is only read" in data
    assert lab.cell(1).locator(".prompt .learnt").count() >= 3
    look(2, "check-pictures")
    assert lab.cell(2).locator("figure img").count() == 8
    for index in (3, 4):
        lab.run(index, 180)
    assert "lr" in look(5, "compare")
    assert lab.cell(5).locator(".nbtrain svg").count() == 1
    listed = look(6, "runs")
    assert "one" in listed and "two" in listed
    planned = look(7, "plan", 180)
    assert "It fits" in planned and "optimizer" in planned
    rates = look(8, "lr-find", 240)
    assert "steps from 1.00e-5" in rates
    assert len(lab.runs()) == 2, "neither plan nor lr-find makes a run"


def test_a_chat_answers_beside_its_base(lab, look):
    lab.open(f"{RUN} --project-name one", "%autotrain chat one")
    lab.run(1, 180)
    lab.run(2, 60)
    field = lab.cell(2).get_by_role("textbox", name="Question")
    field.fill("What is red?")
    field.press("Enter")
    lab.until(lambda: "What is red?" in lab.text(2) and "asking" not in lab.text(2), 120)
    lab.cell(2).screenshot(path=str(lab.pictures() / "chat.png"))
    said = lab.cell(2).locator("table.said tr").all_inner_texts()
    assert [row.split()[0] for row in said] == ["tiny", "one"]
    html = str(lab.outputs(2))
    assert "What is red?" in html, "the answers stand in the saved notebook, not in a widget"
