"""Configurations: a frozen dataclass a recipe, resolved from defaults < file < flags."""

import dataclasses
import difflib
import inspect
import math
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import find_path, shown


def option(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: Sequence[str] = (),
    runtime: bool = False,
) -> Any:
  """A field of a recipe's configuration.

  Args:
    default: its value unless a file or a flag says otherwise; its type is the annotation's.
    help: one line for `--help`.
    at_least: least number allowed.
    at_most: greatest number allowed.
    one_of: the strings allowed; empty means any.
    runtime: whether it changes speed or what is shown only, not the figures; such a field may
      differ when a run is continued.
  """
  limits = {"at_least": at_least, "at_most": at_most, "one_of": tuple(one_of)}
  return dataclasses.field(default=default, metadata={"help": help, "runtime": runtime, **limits})


def resolve(schema: type, *layers: Mapping[str, Any]) -> Any:
  """The configuration that the layers give, later ones first; strings are parsed as flags are.

  Args:
    schema: a dataclass whose fields were made by `option`.
    *layers: field -> value, such as a file's and then the flags'.

  Raises:
    InputError: for an unknown field, a value of the wrong type, or one out of range.

  Example:
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...   k_train: int = option(8, "views of a training example", at_least=1)
    >>> resolve(Config, {"k_train": 4}, {"k_train": "2"}).k_train
    2
  """
  fields = {f.name: f for f in dataclasses.fields(schema)}
  values = {}
  for layer in layers:
    for name, value in layer.items():
      if name not in fields:
        raise InputError(f"unknown field {shown(name)!r}{did_you_mean(shown(name), fields)}")
      values[name] = _checked(fields[name], value)
  return schema(**values)


def check(config: Any) -> None:
  """Checks the fields of a configuration that was made from Python.

  Raises:
    InputError: for a value of the wrong type or out of range.
  """
  for field in dataclasses.fields(config):
    _checked(field, getattr(config, field.name))


def arguments_of(function: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
  """Those of the settings that the function has an argument for.

  Example:
    >>> arguments_of(lambda hidden, depth=1: None, {"hidden": 4, "seed": 0})
    {'hidden': 4}
  """
  taken = inspect.signature(function).parameters
  return {name: value for name, value in settings.items() if name in taken}


def read_file(path: str | pathlib.Path) -> dict[str, Any]:
  """What `get_config()` of a configuration file returns, as a plain dict (`recipe` among it).

  Raises:
    InputError: if the file is missing, fails, or has no `get_config` that returns fields.
  """
  name, path = path, find_path(str(path))
  if path is None or not path.is_file():
    raise InputError(f"configuration file {shown(name)!r} does not exist")
  if path.suffix != ".py":
    raise InputError(f"configuration file {str(path)!r} must be a Python file (.py)")
  module = types.ModuleType("mezzanine_config")
  module.__file__ = str(path)
  try:
    # Not imported: that would leave bytecode beside the file, and may find an older one's.
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    if not hasattr(module, "get_config"):
      raise InputError(f"configuration file {str(path)!r} has no get_config()")
    return dict(module.get_config())
  except InputError:
    raise
  except Exception as error:  # the file is the user's program: whatever goes wrong is told
    raise InputError(
        f"configuration file {str(path)!r} cannot be used: {type(error).__name__}:"
        f" {shown(error, 200)}"
    ) from error


def did_you_mean(name: str, allowed: typing.Iterable[str]) -> str:
  """` (did you mean 'x'?)`, or the list of what there is."""
  allowed = list(allowed)
  near = difflib.get_close_matches(name, allowed, n=1)
  return f" (did you mean {near[0]!r}?)" if near else f"; there are: {', '.join(allowed)}"


def type_name(field: dataclasses.Field) -> str:
  """The field's type as `--help` prints it, such as `int` or `int or none`."""
  base, optional = _type(field)
  return base.__name__ + (" or none" if optional else "")


def _type(field: dataclasses.Field) -> tuple[type, bool]:
  """The field's base type, and whether None is allowed."""
  if isinstance(field.type, types.UnionType):
    base, *_ = [t for t in typing.get_args(field.type) if t is not type(None)]
    return base, True
  return field.type, False


def _checked(field: dataclasses.Field, value: Any) -> Any:
  """The value in the field's type, if it is allowed."""
  value = _parsed(field, value)
  limits = field.metadata
  if value is None:
    return value
  if limits["one_of"] and value not in limits["one_of"]:
    raise InputError(
        f"{field.name} must be one of {', '.join(limits['one_of'])}, got {shown(repr(value))}"
    )
  if limits["at_least"] is not None and value < limits["at_least"]:
    raise InputError(f"{field.name} must be >= {limits['at_least']}, got {value}")
  if limits["at_most"] is not None and value > limits["at_most"]:
    raise InputError(f"{field.name} must be <= {limits['at_most']}, got {value}")
  return value


def _parsed(field: dataclasses.Field, value: Any) -> Any:
  """A flag's string, or a file's value, in the field's type."""
  base, optional = _type(field)
  wrong = InputError(f"{field.name} must be {type_name(field)}, got {shown(repr(value))}")
  if optional and (value is None or value == "none"):
    return None
  if isinstance(value, str) and base is not str:
    words = {"true": True, "false": False}
    try:
      value = words[value.lower()] if base is bool else base(value)
    except (ValueError, KeyError) as error:
      raise wrong from error
  if base is float and type(value) is int:
    value = float(value)
  if type(value) is not base or (base is float and not math.isfinite(value)):
    raise wrong
  return value
