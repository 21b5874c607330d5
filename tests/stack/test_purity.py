"""Only one module of the package touches the machine."""

import ast
import pathlib

import vault.stack

MACHINE = {"asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "sys", "time"}


def imported(path: pathlib.Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names |= {alias.name.split(".")[0] for alias in node.names}
            case ast.ImportFrom():
                names.add((node.module or "").split(".")[0])
    return names


def test_only_the_reader_touches_the_machine() -> None:
    modules = pathlib.Path(vault.stack.__path__[0]).glob("*.py")
    assert {path.stem for path in modules if imported(path) & MACHINE} == {"reader"}


def test_no_module_opens_a_file_but_the_reader() -> None:
    modules = pathlib.Path(vault.stack.__path__[0]).glob("*.py")
    assert {path.stem for path in modules if "open(" in path.read_text()} == {"reader"}
