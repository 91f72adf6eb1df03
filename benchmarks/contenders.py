"""The contenders of score_views: each function loads what it needs and returns one turn.

They run in processes of their own (`processes.start`). A turn does all the work once and gives a
`Turn`; the first one is not measured.
"""

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from processes import peak_mib
from workload import CHOICES, Settings, Workload, boolq_engine

_PRODUCT_TOKENS = 2048
_PRODUCT_RUNS = 6


class Turn(NamedTuple):
  """What one turn gives.

  Attributes:
    seconds: of the work.
    choice_log_probs: float64[V, C] in nats, over the whole vocabulary; None for the products.
    peak_mib: the most memory the process has had resident so far.
    facts: more to print or to keep.
  """

  seconds: float
  choice_log_probs: np.ndarray | None
  peak_mib: float
  facts: dict[str, Any]


def this_engine(settings: Settings, dtype: str, cache: str) -> Callable[[], Turn]:
  """This library: all rows scored to a store in a temporary folder."""
  import jax

  # As the command line has it: what the first turn compiled, a later one finds again.
  jax.config.update("jax_compilation_cache_dir", cache)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  compiling = []

  def listen(event: str, seconds: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile"):
      compiling.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  from mezzanine_jax import language, report

  started = time.perf_counter()
  made = boolq_engine(settings, dtype)
  jax.block_until_ready(made.lm.params)
  facts = {
      "ready_seconds": time.perf_counter() - started,  # loading, preparing, planning
      "cost": language.cost(made.plan),
      "environment": report.environment(),
  }

  def turn() -> Turn:
    compiling.clear()
    with tempfile.TemporaryDirectory() as folder:
      started = time.perf_counter()
      choice_log_probs = made.score(os.path.join(folder, "views.zarr"))
      seconds = time.perf_counter() - started
    by_view = choice_log_probs.astype(np.float64)[made.row.reshape(-1)]
    return Turn(seconds, by_view, peak_mib(), facts | {"compile_seconds": sum(compiling)})

  return turn


def lm_eval_harness(
    folder: str, workload: Workload, dtype: str, batch_size: int
) -> Callable[..., Turn]:
  """lm-evaluation-harness: one call of `loglikelihood` with the requests of all views."""
  _torch()
  from lm_eval.api.instance import Instance
  from lm_eval.models.huggingface import HFLM

  lm = HFLM(pretrained=folder, device="cpu", dtype=dtype, batch_size=batch_size)

  def turn(size: int = batch_size, some: Workload = workload) -> Turn:
    lm.batch_size_per_gpu = size
    pairs = [(context, choice) for context in some.contexts for choice in CHOICES]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    started = time.perf_counter()
    answers = lm.loglikelihood(requests, disable_tqdm=True)
    seconds = time.perf_counter() - started
    log_probs = np.array([log_prob for log_prob, _ in answers]).reshape(-1, len(CHOICES))
    return Turn(seconds, log_probs, peak_mib(), {"batch_size": size})

  return turn


def pytorch_loop(
    folder: str, workload: Workload, dtype: str, batch_size: int
) -> Callable[..., Turn]:
  """What a careful user writes: distinct texts by length, one pass, logits where they are asked."""
  torch = _torch()
  from transformers import AutoModelForCausalLM

  model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

  @torch.inference_mode()
  def score(tokens: list[list[int]], choices: list[int]) -> Any:
    lengths = torch.tensor([len(t) for t in tokens])
    ids = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.long)
    for row, t in zip(ids, tokens, strict=True):
      row[: len(t)] = torch.tensor(t)
    # Padding stands behind, where a causal model does not look: no mask, so the fast kernel.
    hidden = model.model(ids, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[torch.arange(len(tokens)), lengths - 1])
    return torch.log_softmax(logits.float(), -1)[:, choices]

  def turn(size: int = batch_size, some: Workload = workload) -> Turn:
    started = time.perf_counter()
    order = sorted(range(len(some.tokens)), key=lambda r: len(some.tokens[r]))
    out = torch.empty(len(order), len(some.choices))
    for at in range(0, len(order), size):
      rows = order[at : at + size]
      out[rows] = score([some.tokens[r] for r in rows], some.choices)
    seconds = time.perf_counter() - started
    return Turn(seconds, out.double().numpy()[some.row], peak_mib(), {"batch_size": size})

  return turn


def best_batch_size(
    contender: Callable[..., Callable[..., Turn]], folder: str, workload: Workload, part: Workload,
    dtype: str, sizes: list[int],
) -> Callable[[], dict[int, float]]:
  """Tries batch sizes: all on a part of the views, the two best on all of them.

  Gives size -> seconds on all views. A process of its own: large batches take memory.
  """
  turn = contender(folder, workload, dtype, sizes[0])

  def trial() -> dict[int, float]:
    turn(sizes[0], part)  # whatever is slow only once
    seconds = {size: turn(size, part).seconds for size in sizes}
    return {size: turn(size).seconds for size in sorted(seconds, key=seconds.get)[:2]}

  return trial


def xla_products(workload: Workload, dtype: str) -> Callable[[], Turn]:
  """A block's matrix products by XLA: its best rate over layouts, apart or those of an input fused.
  """
  import jax
  import jax.numpy as jnp

  arrangements = []
  for groups in _apart_and_fused(workload.groups):
    for spec, order in (("td,df->tf", (0, 1)), ("td,fd->tf", (1, 0))):
      keys = iter(jax.random.split(jax.random.key(0), 99))
      pairs = [
          (jax.random.normal(next(keys), (_PRODUCT_TOKENS, inputs), jnp.dtype(dtype)),
           [jax.random.normal(next(keys), tuple(np.take((inputs, f), order)), jnp.dtype(dtype))
            for f in outputs])
          for inputs, outputs in groups
      ]

      @jax.jit
      def multiply(pairs: Any, spec: str = spec) -> Any:
        return [
            jnp.einsum(spec, x, w, precision="highest" if dtype == "float32" else "default",
                       preferred_element_type=jnp.float32)
            for x, ws in pairs for w in ws
        ]

      arrangements.append(
          lambda pairs=pairs, multiply=multiply: jax.block_until_ready(multiply(pairs)))
  return _best_rate(arrangements, workload.groups)


def torch_products(workload: Workload, dtype: str) -> Callable[[], Turn]:
  """The same by PyTorch."""
  torch = _torch()
  kind, arrangements = getattr(torch, dtype), []
  products = {True: torch.nn.functional.linear, False: torch.matmul}
  for groups in _apart_and_fused(workload.groups):
    for outputs_first, product in products.items():
      pairs = [
          (torch.randn(_PRODUCT_TOKENS, inputs).to(kind),
           [torch.randn((f, inputs) if outputs_first else (inputs, f)).to(kind) for f in outputs])
          for inputs, outputs in groups
      ]

      @torch.inference_mode()
      def multiply(pairs: Any = pairs, product: Any = product) -> None:
        for x, ws in pairs:
          for w in ws:
            product(x, w)

      arrangements.append(multiply)
  return _best_rate(arrangements, workload.groups)


def _apart_and_fused(groups: tuple) -> list[tuple]:
  """The matrices as they are, and those of one input as one."""
  return [groups, tuple((inputs, (sum(outputs),)) for inputs, outputs in groups)]


def _best_rate(arrangements: list[Callable[[], Any]], groups: tuple) -> Callable[[], Turn]:
  """A turn that gives the least time of several runs of several arrangements of one work."""
  flops = 2 * _PRODUCT_TOKENS * sum(inputs * sum(outputs) for inputs, outputs in groups)

  def turn() -> Turn:
    times = []
    for run in arrangements:
      run()
      for _ in range(_PRODUCT_RUNS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return Turn(min(times), None, peak_mib(), {"gflops": flops / min(times) / 1e9})

  return turn


def _torch() -> Any:
  """PyTorch on all the cores that this process may use."""
  import torch

  usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
  torch.set_num_threads(len(usable))
  return torch
