"""What `vault stack deploy` sends, and how it prints what comes back."""
