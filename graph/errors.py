"""The two errors a user can cause or meet; everything else is a defect of ours.

The command line turns `UserError` into exit code 2 and `MissingError` into exit code 3, each with one line on stderr.
"""


class UserError(Exception):
    """The user's input is wrong: the message is one line that names the file or node, the key, and what is allowed."""


class MissingError(Exception):
    """Something outside is missing or went away: a tool, a device, space on a disk. The message says what to do."""
