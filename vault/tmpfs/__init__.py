"""In-memory mounts for secrets, and the mount calls under them."""
