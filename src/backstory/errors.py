"""The two ways in which a call can fail on purpose."""


class InputError(ValueError):
    """The caller's mistake, in one sentence: what was expected, what came, and what to do."""


class TrainingFailed(RuntimeError):
    """Training could not go on, in one sentence: what happened and what to try."""
