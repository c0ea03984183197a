"""The peer of goals 3 and 6: what a user writes by hand for TRL's SFTTrainer, with its defaults.

    python trl_script.py MODEL DATA FOLDER [NAME=VALUE ...]      fields of SFTConfig, as JSON

The times of the steps and what was logged are left in FOLDER/steps.jsonl.
"""

import json
import sys
import time
from pathlib import Path

from datasets import load_dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

model, data, folder, *given = sys.argv[1:]
changes = {name: json.loads(value) for name, _, value in (each.partition("=") for each in given)}


class Story(TrainerCallback):
    """Writes down when each step ended, and what the Trainer says of it."""

    def __init__(self):
        self.file = open(Path(folder) / "steps.jsonl", "w", buffering=1)

    def on_step_end(self, args, state, control, **_):
        print(json.dumps({"step": state.global_step, "time": time.time()}), file=self.file)

    def on_log(self, args, state, control, logs=None, **_):
        print(json.dumps({"step": state.global_step, **logs}), file=self.file)


trainer = SFTTrainer(
    model=model,
    train_dataset=load_dataset("json", data_files=data, split="train"),
    # bf16: its default needs a GPU, without one it refuses to start
    args=SFTConfig(output_dir=folder, per_device_train_batch_size=8, bf16=False, report_to="none", **changes),
    callbacks=[Story()],
)
trainer.train()
trainer.save_model(Path(folder) / "model")
