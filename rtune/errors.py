"""What a person is told in one sentence. Every error that rtune raises on purpose is an `RtuneError`."""


class RtuneError(Exception):
    """The message is a sentence for the person who gave the command; no traceback is shown."""


class UsageError(RtuneError):
    """What was asked for cannot be: the command ends with exit code 2."""


class SpecError(UsageError):
    """The search file or an option is wrong; the message names the field, its value and the rule."""


class AttackNameError(UsageError):
    """An attack's name is unknown, or one of its settings is out of its range."""


class ResourceError(UsageError):
    """What is asked of machines is not there; the message says what is needed and what there is."""


class UnknownTrialError(UsageError):
    """The run has no such trial."""


class RunError(UsageError):
    """The run folder cannot be made, read or used; the message says why."""


class ObjectiveError(RunError):
    """An objective's name or direction is wrong."""


class RunFailure(RunError):
    """What was rightly asked for has failed: exit code 1."""


class LaunchError(RtuneError):
    """A launch broke off; what it did so far is saved."""
