"""The one exception that stands for bad input."""


class InputError(ValueError):
  """Input that cannot be used: one sentence of what was given, what is allowed, what to do.

  The command line prints it as a single line and exits with status 2.
  """
