"""What an answer costs: parameters, FLOPs of one text, and texts a second as measured."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mezzanine_jax import language
from mezzanine_jax.base import Params
from mezzanine_jax.models.transformer_config import TransformerConfig


def parameters(params: Params) -> int:
  """How many numbers a pytree of arrays holds.

  Example:
    >>> parameters({"w": np.zeros((2, 3)), "b": np.zeros(3)})
    9
  """
  return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(params))


def transformer_flops(config: TransformerConfig, tokens: float, scored: float = 0.0) -> float:
  """FLOPs of one pass: matrix products and attention, 2 for a multiplication and an addition.

  Norms, activations and look-ups are left out, and so is what views share.

  Args:
    config: of the language model or encoder.
    tokens: T, all of them, those of the choices too.
    scored: places with logits over the vocabulary.

  Example:
    >>> tiny = TransformerConfig(10, 4, 1, 1, 1, 4, 8, 16, positions="learned", gated_mlp=False)
    >>> transformer_flops(tiny, 1)  # 2 (4 4x4 + 2 4x8) + 4 x 4 of attention
    272.0
  """
  heads = config.width * config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads)
  mlp = (3 if config.gated_mlp else 2) * config.width * config.mlp_width
  # A token of a causal model sees half of them, on average.
  seen = (tokens + 1) / 2 if config.causal else tokens
  attention = 4 * config.num_heads * config.head_dim * seen
  each = config.num_layers * (2 * (heads + mlp) + attention)
  return float(tokens * each + 2 * scored * config.vocab_size * config.width)


def student_flops(name: str, settings: Mapping[str, Any], num_choices: int, tokens: float) -> float:
  """FLOPs of a student on one text, counted as in `transformer_flops`.

  Args:
    name: `transformer`, `embedding_bag`, or the head of an encoder, `linear` or `mlp`.
    settings: of its factory; `feature_size` for a head.
    num_choices: C.
    tokens: T, that it reads.

  Example:
    >>> student_flops("linear", {"feature_size": 8}, 2, 0)
    32.0
  """
  if name == "linear":
    return 2.0 * settings["feature_size"] * num_choices
  if name == "mlp":
    sizes = [settings["feature_size"], *[settings["hidden"]] * settings["depth"], num_choices]
    return 2.0 * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
  width = settings["width"]
  if name == "embedding_bag":
    return 2.0 * width * (width + num_choices) + tokens * width
  each = 2 * 12 * width**2 + 4 * width * tokens
  return settings["layers"] * tokens * each + 2.0 * width * num_choices


def texts_per_second(run: Callable[[], Any], texts: int, seconds: float = 1.0) -> float:
  """How many texts a second a function does, by the clock; the first call compiles, uncounted.

  Args:
    run: does all the texts; what it returns is waited for.
    texts: how many that are.
    seconds: it is called again until so much time has passed.
  """
  jax.block_until_ready(run())
  calls, started = 0, time.perf_counter()
  while not calls or time.perf_counter() - started < seconds:
    jax.block_until_ready(run())
    calls += 1
  return calls * texts / (time.perf_counter() - started)


def plan_runner(plan: language.Plan, batch_fn: Callable[..., Any], params: Params) -> Callable:
  """A function that runs all batches of a plan, their inputs made beforehand."""
  compiled = jax.jit(batch_fn)
  inputs = [jax.device_put(language.batch_inputs(plan, batch)) for batch in plan.batches]
  return lambda: [jax.block_until_ready(compiled(params, *own)) for own in inputs]


def show(block: Mapping[str, Mapping[str, Any]]) -> None:
  """Prints parameters, FLOPs a text and texts a second of each model.

  Args:
    block: name -> {parameters, flops_a_text, texts_per_second}.
  """
  from rich.console import Console
  from rich.table import Table

  table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  for column in ("", "parameters", "MFLOPs a text", "texts/s"):
    table.add_column(column, justify="right" if column else "left", no_wrap=True)
  for name, own in block.items():
    table.add_row(name.replace("_", " "), f"{own['parameters']:,}",
                  f"{own['flops_a_text'] / 1e6:,.3g}", f"{own['texts_per_second']:,.1f}")
  console = Console(highlight=False, markup=False, emoji=False)
  console.width = max(console.width, 80)
  console.print()
  console.print(table)
