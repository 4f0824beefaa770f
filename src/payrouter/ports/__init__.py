"""Protocols only: what the application needs from the outside."""
