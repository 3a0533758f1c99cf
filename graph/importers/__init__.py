"""Readers that turn files of other frameworks into graphs."""
