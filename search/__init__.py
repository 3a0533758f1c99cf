"""What else it could be: search spaces and searches."""
