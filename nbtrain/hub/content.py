"""What of a run goes to the hub: its model, its card with the curve, its script and its config. Nothing else ever does:
no data, no checkpoint, no journal, no log, no sample."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from pathlib import Path

from nbtrain import redact
from nbtrain.errors import ParamError, RunError
from nbtrain.evaluate.course import picture
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record

Content = Mapping[str, Path | bytes]
"""Place in the repository to a file, or what is in it."""

CURVE = "curve.png"
# whoever trains it again has another account
_PUSHES = re.compile(r"^ +(push_to_hub|repo_id|username|hub_private)[=:].*\n", re.MULTILINE)
_PARAMETERS = "\n## Parameters\n"  # the card's heading before which the curve stands


def of_run(run: RunFolder, repo_id: str) -> Content:
    """All that is sent of a run that has a model.

    Raises:
        RunError: it has no model, or a file holds a secret. ParamError: an adapter whose base is only here.
    """
    if not run.model.is_dir():
        raise RunError(f"the run {run.name} has no model to upload", fix="wait for it, or resume it")
    adapter = run.model / "adapter_config.json"
    if adapter.is_file():
        refuse_local_base(str(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")))
    found = dict[str, Path | bytes](files(run.model))
    again = (path for path in (run.script, run.config) if path.is_file())
    found |= {path.name: _PUSHES.sub("", _portable(path)).encode() for path in again}
    if run.card.is_file():
        curve = picture(Record.of(story(run.events)))
        found |= {CURVE: curve} if curve else {}
        found["README.md"] = _published(_portable(run.card), run, repo_id, with_curve=bool(curve)).encode()
    refuse_secrets(found)
    return found


def refuse_local_base(base: str) -> None:
    """See that an adapter's base can be found by others.

    Raises:
        ParamError: it is a folder of this machine, or built in.
    """
    if base == "tiny" or Path(base).expanduser().exists():
        fix = "upload the base and name it by --model, or leave --no-merge-adapter out"
        raise ParamError("the base of this adapter is only here: nobody could open it", where=base, fix=fix)


def files(folder: Path) -> Content:
    """Every file below a folder, by its place in it; not the hidden ones, nor a link that leads out of it."""
    home = folder.resolve()
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.resolve().is_relative_to(home))
    places = {path.relative_to(folder): path for path in found}
    return {place.as_posix(): path for place, path in places.items() if not any(part[0] == "." for part in place.parts)}


def refuse_secrets(content: Content) -> None:
    """See that no secret which is known here stands in what is to be sent.

    Raises:
        RunError: one does.
    """
    for place, what in content.items():
        if redact.holds_secret(what) if isinstance(what, bytes) else _holds_secret(what):
            fix = "take it out of the file, then push again"
            where = str(what) if isinstance(what, Path) else ""
            raise RunError(f"{place} holds a secret, and nothing was uploaded", where=where, fix=fix)


def _holds_secret(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return redact.holds_secret(view)


def _portable(path: Path) -> str:
    """A text of the run, in which the user's own folder is `~`: it says who they are, and is no other's."""
    return re.sub(rf"{re.escape(str(Path.home()))}(?=[/\\])", "~", path.read_text(encoding="utf-8"))


def _published(card: str, run: RunFolder, repo_id: str, *, with_curve: bool) -> str:
    """The card of a run folder, in which the model lies beside the card, as one of a repository."""
    card = card.replace('("model")', f'("{repo_id}")').replace("  # this folder's", "")
    local = f"Path('{run.name}/model')"
    if local in card:
        card = card.replace(local, f'Path(snapshot_download("{repo_id}"))')
        card = card.replace("```python\n", "```python\nfrom huggingface_hub import snapshot_download\n", 1)
    if with_curve:
        card = card.replace(_PARAMETERS, f"\n![The curve of the training]({CURVE})\n{_PARAMETERS}", 1)
    return card
