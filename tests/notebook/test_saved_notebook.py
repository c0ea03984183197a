"""What stays in a notebook that is executed without a front end."""

import json

import nbclient
import nbformat

CELL = """
import os, threading, time
from nbtrain import events
from nbtrain.notebook.live import Live, watch
from nbtrain.runs import status
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal

def train(folder):
    with Journal(folder.events) as journal:
        journal.append(events.Started(room="llm", method="sft", name=folder.name, total_steps=40))
        for step in range(1, 41):
            journal.append(events.Logged(step=step, values={"loss": 3 - step / 40}))
            if step % 10 == 0:
                journal.append(events.Evaluated(step=step, values={"loss": 3.1 - step / 40}))
            time.sleep(0.03)
        journal.append(events.Finished(step=40))
    status.write(folder, state="finished", pid=None)

def begin(name):
    folder = RunFolder(name)
    folder.path.mkdir()
    status.begin(folder, os.getpid())
    thread = threading.Thread(target=train, args=(folder,))
    thread.start()
    return folder, thread
"""


def test_a_run_is_one_output_of_the_saved_notebook(tmp_path):
    cells = [
        CELL,
        "Live(begin('waits')[0]).follow();",
        "folder, thread = begin('behind'); watch(folder);",
        "1 + 1",
        "thread.join(); time.sleep(1)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for cell in (notebook.cells[1], notebook.cells[2]):
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain", "image/png"}
        assert "finished" in output.data["text/html"] and "40 of 40" in output.data["text/html"]
        assert len(json.dumps(output)) < 60_000
    assert notebook.cells[3].outputs[0].data == {"text/plain": "2"}
    assert notebook.cells[4].outputs == []
