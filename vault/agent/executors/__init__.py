"""Ways to run a task: `port` says what the agent needs of one; `oci` is the one offered."""
