"""Events of vault-dns in RUN_ROOT/dns.log: a line each, and never a name that was asked for."""

import logging
from typing import Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Formats `logger.info("event_name", extra={field: value})`."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and a traceback under it when there is one."""
        fields = "".join(f" {key}={value!r}" for key, value in vars(record).items() if key not in _OWN)
        line = f"{self.formatTime(record)} {record.levelname.lower()} {record.getMessage()}{fields}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line
