"""Which node a task runs on.  Pure."""
