"""`RtuneError`, the base class of all errors that commands print as a sentence, and those of several rooms.

Errors of a single room are defined there, as subclasses. `rtune.robust` is usable alone, so its `DataError`
and `Diverged` are not subclasses; the rooms above convert them.
"""


class RtuneError(Exception):
    """Base class. Commands print the message, a sentence for users, without a traceback."""


class UsageError(RtuneError):
    """The request is not valid or not possible: commands end with exit code 2."""


class SpecError(UsageError):
    """The search file or an option is wrong; the message names the field, its value and the rule."""


class AttackNameError(UsageError):
    """The name of an attack is unknown, or one of its settings is out of range."""


class ResourceError(UsageError):
    """Resources are missing; the message says what is needed and what is available."""


class UnknownTrialError(UsageError):
    """The run has no such trial."""


class RunError(UsageError):
    """A run folder cannot be created, read or used; the message says why."""


class ObjectiveError(RunError):
    """The name or direction of an objective is wrong."""


class RunFailure(RunError):
    """A valid request has failed: commands end with exit code 1."""


class LaunchError(RtuneError):
    """A launch was aborted; its results so far are saved."""


class StartError(RtuneError):
    """Ray could not be started; nothing has been written."""
