"""The rules of the house, each held by a machine. Floors, style and types are held by tools: `make check`."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nbtrain
from nbtrain import trainers
from nbtrain.params import Option, words

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nbtrain"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BANNED = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]
HEAVY = set(BANNED) - {"IPython", "ipywidgets"}
ROOMS = trainers.names()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

LONGEST_FILE, LONGEST_FUNCTION = 300, 60
# "path" or "path::function" -> why it may be longer
LONGER = {"tests/runs/test_launch.py": "one stand-in of fit serves workers, standbys and those found again"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fields() -> list[tuple[str, Option]]:
    return [(room, item) for room in ROOMS for item in trainers.load(room).Params.options().values()]


def field_names(value: object) -> str:
    return value.name if isinstance(value, Option) else str(value)


def code_of(path: Path) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


# rooms


def test_there_is_a_room():
    assert "llm" in ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_its_public_names_and_its_heads(room):
    module = trainers.load(room)
    assert issubclass(module.Params, nbtrain.params.Params)
    assert module.Params.room == room
    assert callable(module.train)
    missing = [head for head in ("Data:", "Result:", "Extra:", "Source:") if head not in (module.__doc__ or "")]
    assert not missing, f"the docstring of {module.__name__} lacks {missing}"
    extra = re.search(r"Extra:\s*nbtrain\[([\w-]+)\]", module.__doc__)
    assert extra and extra[1] in PROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_test_and_a_notebook(room):
    stem = room.replace("-", "_")
    tests = ROOT / "tests" / "trainers"
    assert [*tests.glob(f"test_{stem}*.py"), *tests.glob(f"{stem}/test_*.py")], f"no test of the room {room}"
    magic = re.compile(rf"%autotrain\s+{re.escape(room)}\b")
    assert any(magic.search(cell) for path in NOTEBOOKS for cell in code_of(path)), f"no notebook trains {room}"


@pytest.mark.parametrize(("room", "item"), fields(), ids=field_names)
def test_a_field_says_what_it_is(room, item):
    assert item.help and "\n" not in item.help
    assert item.group
    if {int, float} & set(item.kinds):
        assert item.unit or item.bounds, f"{item.name} of {room} is a number without a unit or bounds"
    if item.only:
        methods = set(trainers.load(room).Params.options()["trainer"].choices)
        assert set(item.only) <= methods, f"{item.name} of {room} is for methods that do not exist"


@cache
def read_of_params() -> frozenset[str]:
    """Names that code reads of something called params, by attribute or by getattr."""
    found = set()
    for path in sources(PACKAGE):
        if path.is_relative_to(PACKAGE / "params"):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and _is_params(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and _is_params(node.args[0]):
                found |= {each.value for each in node.args[1:2] if isinstance(each, ast.Constant)}
    return frozenset(found)


def _is_params(node: ast.expr) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) == "params"


@pytest.mark.parametrize(("room", "item"), fields(), ids=field_names)
def test_a_field_is_read_somewhere_or_refused_with_a_reason(room, item):
    assert item.refused or item.name in read_of_params(), (
        f"nothing reads params.{item.name}: a parameter without effect is a lie"
    )


# the code


@pytest.mark.parametrize("path", sources(PACKAGE, ROOT / "scripts", ROOT / "benchmarks", ROOT / "tests"), ids=named)
def test_a_file_and_its_functions_can_be_read_in_one_go(path):
    text = path.read_text(encoding="utf-8")
    assert named(path) in LONGER or text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert f"{named(path)}::{node.name}" in LONGER or length <= LONGEST_FUNCTION, f"{node.name}: {length} lines"


def test_what_may_be_longer_exists_and_says_why():
    for name, why in LONGER.items():
        assert (ROOT / name.partition("::")[0]).exists() and len(why) > 10, name


def test_text_becomes_html_in_one_place_only():
    # HTML(path) opens the file and HTML(url) fetches it; Markdown may hold HTML
    forbidden = {"HTML", "Markdown", "Javascript", "SVG", "Latex", "IFrame", "display_html", "display_markdown"}
    found = []
    for path in sources(PACKAGE):
        for node in ast.walk(tree(path)):
            names = {getattr(node, "id", ""), getattr(node, "attr", "")}
            names |= {each.name for each in node.names} if isinstance(node, ast.ImportFrom) else set()
            found += [f"{named(path)}:{node.lineno} {name}" for name in names & forbidden]
    assert not [each for each in found if not each.startswith("nbtrain/notebook/html.py")]


def test_only_the_shells_print():
    shells = {"cli.py", "notebook", "sinks"}
    found = [
        f"{named(path)}:{node.lineno}"
        for path in sources(PACKAGE)
        if path.relative_to(PACKAGE).parts[0] not in shells
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "pprint.pprint", "sys.stdout.write")
    ]
    assert not found


def test_rooms_never_import_each_other():
    # import-linter cannot tell a room from a shared part, whose name begins with an underscore
    for path in sources(PACKAGE / "trainers"):
        own = path.relative_to(PACKAGE / "trainers").parts[0].removesuffix(".py")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{each.name}" for each in node.names]
            else:
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            met = {name.split(".")[2] for name in names if name.startswith("nbtrain.trainers.")}
            strangers = met & {room.replace("-", "_") for room in ROOMS} - {own}
            assert not strangers, f"{named(path)} imports {strangers}"


def test_every_public_name_is_there():
    for name in nbtrain.__all__:
        assert getattr(nbtrain, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nbtrain.nonsense  # noqa: B018


LIGHT = {
    "import": "import nbtrain",
    "load_ext": (
        "from IPython.core.interactiveshell import InteractiveShell as Shell\n"
        "Shell.instance().run_line_magic('load_ext', 'nbtrain')\n"
        "assert 'autotrain' in Shell.instance().magics_manager.magics['line']"
    ),
    "panel": (
        "from IPython.core.interactiveshell import InteractiveShell as Shell\n"
        "Shell.instance().run_line_magic('load_ext', 'nbtrain')\n"
        "assert Shell.instance().run_line_magic('autotrain', 'panel llm').params.room == 'llm'"
    ),
    "help": "from nbtrain.cli import main; main(['--help'])",
    "help of a room": "from nbtrain.cli import main; main(['llm', '--help'])",
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_what_is_asked_first_loads_nothing_heavy(code, tmp_path):
    ending = f"\nimport json, sys; json.dump(sorted(set(sys.modules) & {HEAVY!r}), open('loaded.json', 'w'))"
    wrapped = "import contextlib\nwith contextlib.suppress(SystemExit):\n" + "\n".join(
        f"    {line}" for line in code.split("\n")
    )
    done = subprocess.run([sys.executable, "-c", wrapped + ending], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "loaded.json").read_text()) == []


# the project


PAGES = [ROOT / "README.md", ROOT / "docs" / "architecture.md", *NOTEBOOKS]
MAGIC = re.compile(r"^[>\s]*(?:\w+ = )?%autotrain ([\w-]+) (--.*)$", re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_lines_that_a_reader_is_shown_are_understood(path):
    text = "\n".join(code_of(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    # what a cell before has made: rows, and whatever else a line puts in ({run}, $template)
    names = dict.fromkeys(re.findall(r"--df (\w+)", text), [{"text": "a row"}])
    for room, line in MAGIC.findall(text):
        names |= dict.fromkeys(re.findall(r"[{$](\w+)", line), "a text with {input}")
        tokens = words.split(line, names).tokens
        if tokens != ["--help"]:
            room_params = trainers.load(room).Params
            assert room_params.read(words.read_line(tokens, room_params, names))


def test_the_page_of_parameters_is_what_the_fields_say():
    script = ROOT / "scripts" / "write_parameters.py"
    page = runpy.run_path(str(script))["page"]()
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == page, "run `make docs`"


def test_nothing_names_a_machine():
    places = "|".join(
        ("/wor" + "k/", "/roo" + "t/", "/opt/" + "pypi", r"\.\./shar" + "ed", "/Users/" + r"\w", "/home/" + r"\w")
    )
    kinds = {".py", ".md", ".toml", ".txt", ".ipynb", ".yaml", ".yml", ".json", ".csv", ".cfg", ".sh", ""}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in kinds and path.is_file() and path.stat().st_size < 2_000_000:
            text = path.read_bytes().decode("utf-8", "replace")
            found += [f"{name}: {match[0]}" for match in re.finditer(places, text)]
    assert not found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_committed_notebook_holds_no_outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def pins(name: str) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def test_the_constraints_hold_what_is_declared():
    pinned, declared = pins("constraints.txt"), PROJECT["project"]["optional-dependencies"]
    for line in [*PROJECT["project"]["dependencies"], *(each for name in ("llm", "dev") for each in declared[name])]:
        asked = Requirement(line)
        if canonicalize_name(asked.name) != "nbtrain":
            version = pinned.get(canonicalize_name(asked.name))
            assert version and asked.specifier.contains(version), f"{line}: constraints.txt has {version}"


def test_the_floors_of_the_notebook_are_colabs():
    pinned = pins("constraints-colab.txt")
    floors = {Requirement(line).name: Requirement(line).specifier for line in PROJECT["project"]["dependencies"]}
    for name in ("ipython", "ipykernel", "ipywidgets"):
        assert floors[name].contains(pinned[name]), f"{name} {pinned[name]} does not fit {floors[name]}"
