"""The one exception for input that the caller can put right."""


class InputError(ValueError):
    """A file, flag or argument is at fault; the message is one sentence that names it and the remedy."""


class WriteError(InputError):
    """Output could not be written; what was written before is kept for ``--resume``."""
