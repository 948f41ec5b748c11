"""The two ways in which a call can fail on purpose."""


class InputError(ValueError):
    """The caller's mistake, in one sentence: what was expected, what came, and what to do.

    The name of an option stands in backticks, such as `force`; the command line writes it in its own way.
    """


class TrainingFailed(RuntimeError):
    """Training could not go on, in one sentence: what happened and what to try."""
