"""The Docker Engine API, and ours beside it, over HTTP."""
