"""The `vault` command: Docker's grammar, tables, messages and exit codes over the HTTP API of the local `vaultd`.

`main` is the entry; `command` and `flags` read a command line as Docker does; `client` speaks HTTP over the socket;
`values` turns option texts into API values; `template`, `table` and `human` turn API values into text; `progress`
says how far a service is; `commands` holds one module for each group of commands, imported only when it is used.
"""
