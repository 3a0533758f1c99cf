"""The kernel families that all CPU targets share."""
