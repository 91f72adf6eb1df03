"""What a reader of `results.json` relies on: which of its entries are objects, lists, numbers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mezzanine_jax.untrusted import shown

Check = Callable[[Any], str | None]  # what is wrong with a value; None for nothing


def _of(*kinds: type) -> Check:
  """A value of one of these types."""
  names = " or ".join({dict: "an object", list: "a list", str: "a text", int: "an integer",
                       float: "a number", bool: "a truth value"}[kind] for kind in kinds)

  def check(value: Any) -> str | None:
    good = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
    good = good and (not isinstance(value, float) or math.isfinite(value))
    return None if good else f"must be {names}, got {shown(repr(value), 40)}"

  return check


def _object(**fields: Check) -> Check:
  """An object, with the checks of the fields that are there; `null` is as good as none."""

  def check(value: Any) -> str | None:
    if not isinstance(value, Mapping):
      return _of(dict)(value)
    found = ((name, one(value[name])) for name, one in fields.items()
             if value.get(name) is not None)
    return next((f"{name} {wrong}" for name, wrong in found if wrong), None)

  return check


def _with(names: tuple[str, ...], one: Check) -> Check:
  """An object that must have these fields."""

  def check(value: Any) -> str | None:
    missing = [n for n in names if n not in value] if isinstance(value, Mapping) else []
    return one(value) or (f"lacks {', '.join(missing)}" if missing else None)

  return check


def _every(one: Check, kind: type = dict) -> Check:
  """An object, or a list, whose values all pass."""

  def check(value: Any) -> str | None:
    if not isinstance(value, kind):
      return _of(kind)(value)
    found = ((name, one(item)) for name, item in
             (value.items() if kind is dict else enumerate(value)))
    return next((f"{shown(name, 40)} {wrong}" for name, wrong in found if wrong), None)

  return check


def _list(one: Check, least: int = 0) -> Check:
  """A list of at least so many values that all pass."""

  def check(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) < least:
      return _of(list)(value) or f"must have {least} values, got {len(value)}"
    return _every(one, list)(value)

  return check


_NUMBER, _TEXT, _COUNT = _of(int, float), _of(str), _of(int)
# A figure may be unknown.
_FIGURES = _object(gap=_of(dict), gap_movable=_of(dict), over_views=_of(dict))
_INTERVAL = _list(lambda value: None if value is None else _NUMBER(value), 2)
_VIEW = _with(("view", "probabilities", "text"), _object(
    view=_COUNT, probabilities=_list(_NUMBER, 1), text=_TEXT))
_EXAMPLE = _with(("id", "pairwise_tv", "views"), _object(
    pairwise_tv=_NUMBER, views=_list(_VIEW, 1), choices=_list(_of(str, int, float)),
    beliefs=_list(_list(_NUMBER, 1))))
_ROWS = {"views": _COUNT, "segments": _COUNT, "examples": _COUNT, "or_more": _of(bool),
         **{name: _of(dict) for name in ("gap", "gap_movable")}}
_RESULTS = _object(
    recipe=_TEXT, who=_TEXT, version=_TEXT, config=_of(dict),
    environment=_object(packages=_of(dict)),
    data=_object(
        choices=_list(_TEXT), template=_of(str, list), prompts=_every(_COUNT),
        notes=_object(messages=_of(list)), train=_object(examples=_COUNT),
        test=_object(examples=_COUNT, movable=_COUNT)),
    baseline=_FIGURES, teacher=_FIGURES, student=_FIGURES, differences=_FIGURES,
    controls=_object(), noise_floor=_of(dict),
    teacher_by_views=_list(_with(("views",), _object(**_ROWS))),
    gap_by_views=_list(_with(("views",), _object(**_ROWS))),
    gap_by_segments=_list(_with(("segments", "examples", "or_more"), _object(**_ROWS))),
    verdict=_list(_with(("check", "answer", "meaning", "interval"), _object(
        check=_TEXT, answer=_TEXT, meaning=_TEXT, interval=_INTERVAL))),
    cost=_object(rows=_COUNT, seconds=_NUMBER, total_seconds=_NUMBER),
    examples=_list(_EXAMPLE))


def mismatch(results: Mapping[str, Any]) -> str | None:
  """What of a run's results is not of the type that a report of them relies on.

  Args:
    results: what `results.json` holds.

  Returns:
    Where, what it must be and what it is; None where all is well.

  Example:
    >>> mismatch({"data": {"choices": ["no", 3]}})
    'data choices 1 must be a text, got 3'
  """
  wrong = _RESULTS(results)
  if wrong is None and results.get("controls"):
    wrong = _every(_FIGURES)(results["controls"])
    wrong = wrong and f"controls {wrong}"
  if wrong is None:
    wrong = _uneven(results.get("examples") or ())
  return wrong


def _uneven(examples: list[Mapping[str, Any]]) -> str | None:
  """Views of one example say something of the same answers."""
  for number, example in enumerate(examples):
    beliefs = [view["probabilities"] for view in example["views"]]
    if len({len(own) for own in [*beliefs, *(example.get("beliefs") or ())]}) > 1:
      return f"examples {number} has views with different numbers of probabilities"
  return None
