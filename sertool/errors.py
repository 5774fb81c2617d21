"""Errors and warnings that the user sees as one line."""


class SertoolError(Exception):
    """A problem that the user can fix; its text names the file or option and the fix."""


class UsageError(SertoolError):
    """A wrong option, name or recipe (exit code 2)."""


class AudioError(SertoolError):
    """A recording that cannot be read or labelled."""


class AudioWarning(UserWarning):
    """Something to know about a recording that is labelled nevertheless."""


class ExportWarning(UserWarning):
    """Something to know about a file that is written nevertheless."""


class BundleError(SertoolError):
    """A bundle that is incomplete, damaged or of another version."""
