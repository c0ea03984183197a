"""What a kernel does while a run trains: follows the journal and draws each frame, of which nobody is shown anything.

python viewer.py RUN_FOLDER
"""

import sys
import time
from pathlib import Path

from nbtrain.notebook.live import Live
from nbtrain.runs.folder import RunFolder

live = Live(RunFolder(Path(sys.argv[1])), display=lambda bundle, again: None)
print("ready", flush=True)
while not live.look():
    time.sleep(0.05)
