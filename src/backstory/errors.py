"""The two ways in which a call can fail on purpose."""

from collections.abc import Sequence
from difflib import get_close_matches

ALIKE = 0.65  # share of letters, see difflib, from which a word may be meant by another


def printable(text: str) -> str:
    r"""A text of which control characters, such as a file may hold, are written as escapes.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun, and with its verb if that is given: `many` is `one` with an s by default.

    >>> counted(1, "row"), counted(2, "row"), counted(1, "image is", "images are")
    ('1 row', '2 rows', '1 image is')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def named(one: str, names: Sequence[str]) -> str:
    """A noun, with an s unless there is one name, and the names after it.

    >>> named("condition", ["sex"]), named("condition", ["sex", "age"]), named("condition", [])
    ('condition sex', 'conditions sex, age', 'conditions (none)')
    """
    return f"{one if len(names) == 1 else one + 's'} {', '.join(names) or '(none)'}"


def meant(word: str, choices: Sequence[str], otherwise: str = "choose one of these") -> str:
    """What to do about a word that is none of the choices: one that is spelt or begins like it, if any.

    >>> meant("convolutional", ["mlp", "conv"]), meant("nope", ["age", "income"])
    ("did you mean 'conv'?", 'choose one of these')
    """
    word = str(word)
    near = get_close_matches(word, choices, n=1, cutoff=ALIKE)
    if not near and word:
        near = [choice for choice in choices if choice.startswith(word) or word.startswith(choice or " ")]
    return f"did you mean {near[0]!r}?" if near else otherwise


class InputError(ValueError):
    """The caller's mistake, in one sentence: what was expected, what came, and what to do.

    The name of an option stands in backticks, such as `force`; the command line writes it in its own way.
    """

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))


class TrainingFailed(RuntimeError):
    """Training could not go on, in one sentence: what happened and what to try."""
