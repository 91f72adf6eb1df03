"""What a model family is: data that maps published configs and weight names to the transformer."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.untrusted import shown

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
_MOST_HEAD_DIM = 2**16


class Source(NamedTuple):
  """Where a parameter stands in a weight file.

  Attributes:
    name: the tensor's name; `{}` stands for the layer's number.
    transposed: whether the file holds [out, in] where the parameter is [in, out].
    part: (i, n): the parameter is the i-th of n equal parts of the file's columns.
    rope_pairs: whether rows of one head lie as (0, h/2, 1, h/2 + 1, ...), as GGUF files of
      the llama architecture hold queries and keys.
    folded: whether the file has more axes: ones before, or several for the parameter's inputs.
  """

  name: str
  transposed: bool = False
  part: tuple[int, int] = (0, 1)
  rope_pairs: bool = False
  folded: bool = False


class Family(NamedTuple):
  """How published checkpoints of one kind map to the transformer.

  Attributes:
    config: Hugging Face config as a mapping -> TransformerConfig.
    weights: parameter path ("layers/q/kernel") -> Source, for safetensors files.
    prefix: start of tensor names that some checkpoints have and others leave out.
    ignored: regular expression of tensor names (without prefix) that are not wanted: buffers of
      old checkpoints, heads of an encoder.
    gguf_weights: the same as `weights` for GGUF files; None where those are not supported.
    renamed: what some checkpoints call the end of a tensor's name -> what it is called here.
  """

  config: Callable[[Mapping[str, Any]], TransformerConfig]
  weights: Mapping[str, Source]
  prefix: str
  ignored: str
  gguf_weights: Mapping[str, Source] | None = None
  renamed: Mapping[str, str] = MappingProxyType({})


def required(config: Mapping[str, Any], field: str) -> Any:
  """The value of a config field that has no default.

  Args:
    config: Hugging Face config as a mapping.
    field: name of the field.

  Raises:
    InputError: the field is missing.
  """
  if config.get(field) is None:
    raise InputError(f"the model's config lacks the field {field!r}; add it to config.json")
  return config[field]


def size(config: Mapping[str, Any], field: str) -> int:
  """The value of a config field that counts something.

  Args:
    config: Hugging Face config as a mapping.
    field: name of the field.

  Raises:
    InputError: the field is missing or no integer >= 1.
  """
  value = required(config, field)
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise InputError(f"the model's config must hold an integer >= 1 in {field!r}, got "
                     f"{shown(repr(value))}")
  return value


def number(config: Mapping[str, Any], field: str, default: float | None = None) -> float:
  """The value of a config field that holds a positive number.

  Args:
    config: Hugging Face config as a mapping.
    field: name of the field.
    default: what stands in for a missing one; None: it must be there.

  Raises:
    InputError: the field is missing, or no positive and finite number.
  """
  value = required(config, field) if default is None else config.get(field)
  if value is None:
    return default
  good = isinstance(value, int | float) and not isinstance(value, bool)
  if not good or not 0 < value < 1e300:
    raise InputError(f"the model's config must hold a number above 0 in {field!r}, got "
                     f"{shown(repr(value))}")
  return value


def refuse(config: Mapping[str, Any], **supported: Any) -> None:
  """Checks config fields of which one value only is implemented.

  Args:
    config: Hugging Face config as a mapping; an absent field is fine.
    **supported: field=the value that is implemented.

  Raises:
    InputError: a field has another value.
  """
  for field, value in supported.items():
    got = config.get(field)
    if got is not None and got != value:
      raise InputError(f"{field} = {shown(repr(got))} in the model's config is not supported; "
                       f"only {value!r} is")


def rope_frequencies(config: Mapping[str, Any],
                     head_dim: int) -> tuple[tuple[float, ...], float]:
  """Radians per position of every rotary pair, with the published scaling in them.

  Unscaled: f_i = theta^(-2i / head_dim). "linear" divides by the factor, "llama3" (Llama 3.1) by
  wavelength, "yarn" (Peng et al. 2023, https://arxiv.org/abs/2309.00071) along a ramp of pairs.

  Args:
    config: Hugging Face config: `rope_parameters`, or the older `rope_theta`, `rope_scaling`.
    head_dim: size of a head.

  Returns:
    (head_dim / 2 frequencies, factor on cosines and sines).

  Raises:
    InputError: another kind of scaling, or numbers that cannot be used.

  Example:
    >>> rope_frequencies({"rope_theta": 100.0}, 4)
    ((1.0, 0.1), 1.0)
  """
  if not isinstance(head_dim, int) or not 1 <= head_dim <= _MOST_HEAD_DIM:
    raise InputError(f"the size of a head must be an integer from 1 to {_MOST_HEAD_DIM}, got "
                     f"{shown(repr(head_dim))}")
  rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
  if not isinstance(rope, Mapping):
    raise InputError(f"rope_parameters (or rope_scaling) in the model's config must be an object, "
                     f"got {shown(repr(rope))}")
  kind = rope.get("rope_type") or rope.get("type") or "default"
  if kind not in ROPE_TYPES:
    raise InputError(f"rope scaling of type {shown(repr(kind))} is not supported; "
                     f"supported: {', '.join(ROPE_TYPES)}")
  refuse(config, partial_rotary_factor=1.0)
  refuse(rope, partial_rotary_factor=1.0)
  theta = number(rope, "rope_theta", number(config, "rope_theta", 10000.0))
  plain = [theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
  if kind == "default":
    return tuple(plain), 1.0
  factor = number(rope, "factor")
  if kind == "linear":
    return tuple(f / factor for f in plain), 1.0
  name = "original_max_position_embeddings"
  trained = number(config, name, number(rope, name, number(config, "max_position_embeddings")))
  if kind == "llama3":
    low, high = number(rope, "low_freq_factor"), number(rope, "high_freq_factor")
    if low >= high:
      raise InputError(f"low_freq_factor must be below high_freq_factor, got {low} and {high}")
    turns = [trained * f / (2 * math.pi) for f in plain]  # whole turns within the trained length
    keep = [min(max((t - low) / (high - low), 0.0), 1.0) for t in turns]
    return tuple(k * f + (1 - k) * f / factor for k, f in zip(keep, plain, strict=True)), 1.0
  return _yarn(rope, plain, theta, factor, trained)


def _yarn(rope, plain, theta, factor, trained):
  """YaRN: fast pairs keep their frequency, slow ones are divided, a ramp lies between."""
  head_dim = 2 * len(plain)

  def pair_of(turns):  # the (fractional) pair that makes so many turns within the trained length
    return head_dim * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

  if theta <= 1:
    raise InputError(f"rope_theta must be above 1 for yarn, got {theta}")
  first = pair_of(number(rope, "beta_fast", 32))
  last = pair_of(number(rope, "beta_slow", 1))
  if rope.get("truncate", True):
    first, last = math.floor(first), math.ceil(last)
  first, last = max(first, 0), min(last, head_dim - 1)
  width = (last - first) or 0.001
  keep = [1 - min(max((i - first) / width, 0.0), 1.0) for i in range(len(plain))]

  def gain(weight=1.0):
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

  scale = number(rope, "attention_factor", 0)
  if not scale:
    mscale, whole = number(rope, "mscale", 0), number(rope, "mscale_all_dim", 0)
    scale = gain(mscale) / gain(whole) if mscale and whole else gain()
  return tuple(k * f + (1 - k) * f / factor for k, f in zip(keep, plain, strict=True)), scale
