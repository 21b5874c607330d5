"""`vault doctor network`: `examination` looks at the machine, `rules` (pure) says what that means."""
