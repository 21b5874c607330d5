"""Ways to run a task; `oci` is the one offered."""
