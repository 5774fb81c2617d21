"""Errors that reach the user as one line."""


class SertoolError(Exception):
    """Something the user can mend; its text names the file or option and the way out."""


class UsageError(SertoolError):
    """An option, a name or a recipe that is wrong (exit code 2)."""


class AudioError(SertoolError):
    """A recording that cannot be read or labelled."""


class AudioWarning(UserWarning):
    """What a person should know of a recording that is labelled all the same."""


class ExportWarning(UserWarning):
    """What a person should know of a file that is written all the same."""


class BundleError(SertoolError):
    """A bundle that is incomplete, damaged or of another version."""
