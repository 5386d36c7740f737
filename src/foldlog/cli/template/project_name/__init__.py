"""project-name: what it does, in one line."""
