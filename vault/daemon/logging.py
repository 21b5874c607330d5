"""Logs of vaultd: one line an event, on standard error: time, level, event, fields.  Never a request's body."""

import asyncio
import logging
import sys
from datetime import UTC, datetime

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Formats `logger.info("event_name", extra={field: value})`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and a traceback under it when there is one."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = " ".join(f"{key}={_shown(value)}" for key, value in vars(record).items() if key not in _OWN)
        line = f"{when} {record.levelname.lower()} {record.getMessage()}" + (f" {fields}" if fields else "")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str) -> None:
    """Log to standard error from `level` on; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("vault").setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut_stream)


def _is_no_cut_stream(record: logging.LogRecord) -> bool:
    """Whether a record is anything but the traceback of a stream that is cut because vaultd ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c in text for c in ' "=\n') else text
