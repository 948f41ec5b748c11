"""The command line is for people alone: the library neither imports it nor speaks like it."""

import ast
import re
from pathlib import Path

import pytest

import backstory

SOURCE = Path(backstory.__file__).parent
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE / "cli"]
LIBRARY = [path for path in FILES if path.name != "__main__.py"]
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_does_not_import_the_command_line(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            assert name.split(".")[0] not in ("typer", "click"), f"{name_of(path)} imports {name}"
            assert not f"{name}.".startswith("backstory.cli."), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_messages_of_the_library_name_options_without_dashes(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not OPTION.search(node.value), f"{name_of(path)}:{node.lineno} says {node.value!r}"
