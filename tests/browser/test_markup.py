"""Text of data, names, models and errors is only text in the page, whatever it looks like."""

import json

import pytest

from nbtrain import events
from nbtrain.plain import visible
from nbtrain.runs import folder, status
from nbtrain.runs.journal import Journal
from nbtrain.trainers import load

pytestmark = pytest.mark.browser

PAYLOADS = [
    "<script>window.__owned=1</script>",
    '<img src=x onerror="window.__owned=2">',
    '<svg onload="window.__owned=3"></svg>',
    '<iframe srcdoc="<script>parent.__owned=4</script>"></iframe>',
    "</td></tr></table></div></div><b id=owned>bold</b>",
    "</title></desc></svg></style><img src=x onerror=window.__owned=6>",
    "<style>body{display:none}</style><!-- ]]> -->",
    '<a id=owned href="javascript:window.__owned=8">link</a>',
    "[link](javascript:window.__owned=9) **bold** `code` <javascript:window.__owned=9>",
    '![picture](x"onerror="window.__owned=10)',
    "&lt;img src=x onerror=window.__owned=11&gt; &#60;b id=owned&#62;",
    '" onmouseover="window.__owned=12" style="position:fixed;inset:0',
    "' onfocus='window.__owned=13' autofocus='",
    "<details open ontoggle=window.__owned=14><summary>x</summary></details>",
    "\x1b[31mred\x1b[0m \x1b]8;;javascript:window.__owned=15\x07link\x1b]8;;\x07 \x1b[2J",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200b",
    "costs $5 or $6, $$\\href{javascript:window.__owned=17}{x}$$ \\(y\\) \\[z\\]",
    "<math><mtext><img src=x onerror=window.__owned=18></mtext></math>",
    "${window.__owned=19} {{constructor.constructor('window.__owned=19')()}} %s {0.__class__}",
]
SHORT = (
    "--trainer sft --batch-size 4 --max-seq-length 512 --sample-max-new-tokens 4 --max-steps 2 --save-strategy no "
    "--on-bad-rows skip"
)


def a_story(text, end):
    """The events of a run in which every text is `text`."""
    sample = {"prompt": text, "output": text, "expected": text}
    yield events.Warned(message=text)
    yield events.Started(room=text, method=text, name=text, total_steps=9, facts={text: text, "n" + text: 3})
    yield events.Sampled(step=0, samples=(sample,), label="base")
    for step in (1, 2, 3):
        yield events.Logged(step=step, values={"loss": 2.0 / step, text: 1.0, f"{text}_per_second": 2.0})
        yield events.Evaluated(step=step, values={text: 1.0 / step, "b" + text: 1.0})
        yield events.Sampled(step=step, samples=(sample,), label=text)
    yield events.Changed(step=3, name=text, old=text, new=text)
    yield events.Resumed(step=3, checkpoint=text, differences=(text,))
    yield end


def tell(root, name, text):
    """A run folder of that name, with that story, which ends in a failure."""
    run = folder.claim(name, "llm", "sft", root)
    folder.write_params(run, load("llm").Params.read({})[0])
    error = dict.fromkeys(("what", "where", "why", "fix"), text) | {"kind": "DataError"}
    with Journal(run.events) as journal:
        for event in a_story(text, events.Failed(step=3, error=error)):
            journal.append(event)
    status.write(run, state="failed", cause=text)


def tags(lab, index):
    """The elements of each view in a cell: names of tag and attributes, in order."""
    return lab.evaluate(
        f"""const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}];
        const names = each => [each.tagName, ...each.getAttributeNames().sort()].join(' ');
        return [...cell.querySelectorAll('.nbtrain')].map(view => [...view.querySelectorAll('*')].map(names));"""
    )


def assert_only_text(lab):
    assert lab.evaluate("return window.__owned ?? null;") is None
    assert lab.dialogs == []
    made = lab.evaluate(
        """const strange = `[id=owned], [onerror], [onload], [onmouseover], [onfocus], [ontoggle], [autofocus], math,
            mjx-container, .MathJax, [class*=ansi], a[href], img, script, iframe, object, style:not(.nbtrain > style)`;
        return [...document.querySelectorAll('.jp-OutputArea-output')]
            .flatMap(area => [...area.querySelectorAll(strange)])
            .filter(each => !(each.tagName === 'A' && each.textContent.startsWith('/')))  // Lab's own link of a path
            .map(each => each.outerHTML.slice(0, 200));"""
    )
    assert made == []


def test_what_a_model_writes_and_an_error_says_stays_text(lab):
    for number, text in enumerate(["harmless", *PAYLOADS]):
        tell(lab.folder, f"told-{number}", text)
    lab.open(
        f"for n in range({len(PAYLOADS) + 1}):\n    get_ipython().run_line_magic('autotrain', f'show told-{{n}}')",
        "%autotrain why told-15",
        "%autotrain runs",
        "%autotrain attach told-15",
    )
    for index in range(1, 5):
        lab.run(index)
    lab.page.wait_for_timeout(2000)  # what sets mathematics comes a moment later
    views = tags(lab, 1)
    assert len(views) == len(PAYLOADS) + 1
    for text, view in zip(PAYLOADS, views[1:], strict=True):
        assert view == views[0], f"{text!r} makes other elements than harmless text"
    assert_only_text(lab)
    shown = lab.text(1)
    for text in PAYLOADS:
        assert visible(text) in shown, f"{text!r} is shown as what it is"
    assert "\x1b" not in shown and "\u202e" not in shown and "\\x1b[31mred" in shown
    lab.picture("markup")


def test_rows_columns_and_a_project_name_of_markup_stay_text_in_a_real_run(lab):
    tell(lab.folder, "told", "harmless")
    safe = [text for text in PAYLOADS if "/" not in text and text.isprintable()]
    rows = [{safe[0]: text, safe[1]: text, safe[2]: "unused"} for text in PAYLOADS]
    (lab.folder / "texts.json").write_text(json.dumps([rows, safe]))
    cell = f"%%autotrain llm {SHORT}\ndata = rows\nproject_name = name\ncolumn_mapping = "
    lab.open(
        "import json\nrows, (name, other, *_) = json.load(open('texts.json'))\n"
        "given, wrong = {'prompt': name, 'response': other}, {'prompt': 'asked'}",
        "%autotrain show told",
        cell + "given",
        cell + "wrong",
        "%autotrain llm --df row",
        "%autotrain runs",
        "%autotrain check llm --trainer sft --df rows --on-bad-rows skip",
        "%autotrain llm --df rows --text-column ",
    )
    for index in range(1, 8):
        lab.run(index, 120)
    (harmless,), (view,) = tags(lab, 2), tags(lab, 3)
    assert set(view) <= set(harmless)
    for index in range(3, 8):
        assert safe[0] in lab.text(index)
    assert "finished" in lab.text(3) and "failed" in lab.text(4)
    lab.picture("markup-rows")
    assert any("onerror" in offer for offer in lab.complete(8))
    lab.page.wait_for_timeout(1000)
    assert_only_text(lab)
