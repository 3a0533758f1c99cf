"""Traces of schedule primitives: JSON that says how a plain computation becomes a kernel."""

import hashlib

# JSON keeps integers up to 2**53 exactly.
_DIGITS = 12


def trace_number(trace: str) -> int:
    """What a trace is called in records and files: the first 48 bits of its SHA-256; 0 for the empty trace."""
    return int(hashlib.sha256(trace.encode()).hexdigest()[:_DIGITS], 16) if trace else 0
