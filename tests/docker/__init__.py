"""The real `docker` command, pointed at a real vaultd.  What it prints is compared with what it prints for Docker."""
