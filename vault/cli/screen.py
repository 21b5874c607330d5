"""Lines that change in place on a terminal, and are printed once each elsewhere."""

import shutil
from typing import NamedTuple, TextIO

LEAST_COLUMNS = 80  # Narrower terminals show states without bars, since a wrapped line cannot be drawn over.


class Line(NamedTuple):
    """One line of progress.  A later line with the same key takes its place on a terminal."""

    key: str
    text: str
    bar: bool = False  # Ends with a bar in brackets, which is for terminals only.


class Screen:
    """Draws lines in place on a terminal; elsewhere prints each line when it changes, bars left out."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._terminal = out.isatty()
        self._bars = self._terminal and shutil.get_terminal_size((80, 24)).columns >= LEAST_COLUMNS
        self._rows: list[str] = []
        self._last: dict[str, str] = {}

    def draw(self, line: Line) -> None:
        """Show one line."""
        if self._quiet or self._last.get(line.key) == line.text or (line.bar and not self._terminal):
            return
        self._last[line.key] = line.text
        if self._terminal:
            self._place(line if self._bars or not line.bar else Line(line.key, line.text.partition("[")[0]))
        else:
            self._out.write(f"{line.key}: {line.text}\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """Print a message below the lines."""
        if not self._quiet:
            self._out.write(text + "\n")
            self._out.flush()
            self._rows.clear()

    def _place(self, line: Line) -> None:
        if line.key not in self._rows:
            self._rows.append(line.key)
            self._out.write(f"{line.key}: {line.text}\n")
            return
        up = len(self._rows) - self._rows.index(line.key)
        self._out.write(f"\x1b[{up}A\x1b[2K\r{line.key}: {line.text}\r\x1b[{up}B")
