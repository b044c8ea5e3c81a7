"""The one exception for input that a person can put right."""


class InvalidInputError(ValueError):
    """Bad input: the message is one line that names the thing, its value and the remedy.

    Programs print the message and exit with code 2; every other exception is a defect and keeps
    its traceback.
    """
