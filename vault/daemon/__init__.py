"""vaultd: every part composed once."""
