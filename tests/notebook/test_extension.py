"""Loading and unloading the extension."""

import subprocess
import sys
import threading

from IPython.utils.capture import capture_output

import nbtrain
from nbtrain.runs import status


def test_loading_is_quiet_light_and_the_same_when_done_twice(shell):
    with capture_output() as captured:
        shell.run_line_magic("load_ext", "nbtrain")
        nbtrain.load_ipython_extension(shell)
    assert captured.stdout == captured.stderr == ""
    assert [type(each).__name__ for each in shell.configurables].count("NBTrain") == 1
    names = (
        "{'torch', 'pandas', 'matplotlib', 'transformers', 'datasets', 'numpy', 'pyarrow', 'pydantic', 'ipywidgets'}"
    )
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance();"
        f"shell.run_line_magic('load_ext', 'nbtrain'); print({names} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unloading_takes_everything_away(shell):
    def hooks():
        completer = shell.Completer
        return (
            sorted(shell.magics_manager.magics["line"]),
            sorted(shell.magics_manager.magics["cell"]),
            sorted(shell.magics_manager.registry),
            [type(each).__name__ for each in shell.configurables],
            len(getattr(completer, "custom_matchers", ())),
            "_complete" in completer.__dict__,
            sorted(map(str, shell.display_formatter.ipython_display_formatter.deferred_printers)),
            sorted(map(str, shell.display_formatter.ipython_display_formatter.type_printers)),
        )

    before = hooks()
    nbtrain.load_ipython_extension(shell)
    assert hooks() != before
    nbtrain.unload_ipython_extension(shell)
    assert hooks() == before
    nbtrain.unload_ipython_extension(shell)


def test_runs_outlive_the_extension(notebook, train):
    gate = threading.Event()
    train(lambda params, run: gate.wait(20))
    notebook("run = %autotrain llm --background")
    notebook("%unload_ext nbtrain")
    assert "autotrain" not in notebook.magics()["line"]
    gate.set()
    notebook["run"].worker.wait(20)
    assert status.read(notebook["run"].folder).state == "finished"
