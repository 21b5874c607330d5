"""What the service commands are made of: their options, specs and changes of specs (pure), and progress."""
