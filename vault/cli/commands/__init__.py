"""One module for each group of commands; `vault.cli.main` imports one when it is used."""
