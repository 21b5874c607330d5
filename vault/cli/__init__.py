"""The vault command."""
