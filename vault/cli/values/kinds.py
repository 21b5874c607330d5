"""The kinds of option values, under the names that help shows."""

from vault.cli.command import Kind
from vault.cli.values import scalars

DURATION = Kind("duration", scalars.duration)
TIME = Kind("duration", scalars.positive_duration)
BYTES = Kind("bytes", scalars.byte_size)
SWAP = Kind("bytes", scalars.swap_size)
CPUS = Kind("decimal", scalars.nano_cpus)
UINT = Kind("uint", scalars.unsigned)
INT = Kind("int", scalars.integer)
FLOAT = Kind("float", scalars.ratio)
COMMAND = Kind("command", scalars.command_words)
CREDENTIAL_SPEC = Kind("credential-spec", scalars.no_credential_spec)
LABEL = Kind("list", scalars.label)
LIST = Kind("list", str)
STRINGS = Kind("strings", str)
FILTER = Kind("filter", scalars.filter_pair)
