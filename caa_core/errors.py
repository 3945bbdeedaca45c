"""The one exception that is meant for the person in front of the screen."""


class InputError(ValueError):
    """What was given cannot be used.

    The message is one plain sentence or two: what is wrong, where (line, field), what to do. The page
    shows it as it is, the command line prints it and exits with status 2.
    """
