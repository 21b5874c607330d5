"""Log drivers: options, what goes with lines, and how lines reach a server."""
