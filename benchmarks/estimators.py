"""How far the estimators of one example's gap are off on average, against exact orbits.

    python benchmarks/estimators.py

Small random transformers answer prompts of 3, 4 and 5 sentences in all 6, 24 and 120 orders, which
gives the exact figures. Then views are drawn 20,000 times, without repeats and independently, and
every figure is estimated from them. Prints Markdown; no model is downloaded, a minute on one core.
"""

import argparse
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import divergences, gap, prompts, scoring, variances
from mezzanine_jax.models.transformer import init_params
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.symmetries import segment_order

CONFIG = TransformerConfig(
    vocab_size=64, width=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, mlp_width=48,
    max_positions=32, rope_frequencies=(1.0, 0.3, 0.1, 0.03))
SENTENCES = (3, 4, 5)
VIEWS = (2, 4, 8, 16)
NUM_DRAWS = 20_000
NUM_CHOICES = 3
_TOKENS, _CHUNK = 32, 2000


class Estimates(NamedTuple):
  """One figure of one orbit, as estimated from many draws of K views.

  Attributes:
    exact: of the whole orbit; of `any_flip`, the chance that K views disagree.
    mean: of the estimates.
    stderr: of that mean.
  """

  exact: float
  mean: float
  stderr: float


@functools.cache
def orbit(sentences: int, seed: int = 0) -> np.ndarray:
  """float32[M, C]: a random transformer's log-probs on all orders, the canonical one first."""
  rng = np.random.default_rng(seed)
  lengths = [2, *rng.integers(1, 5, sentences), 3]
  segments = [rng.integers(1, 40, n) for n in lengths]
  prompt = prompts.make_prompt(
      segments, [0] + [1] * sentences + [0], [[50 + c] for c in range(NUM_CHOICES)],
      [3] * NUM_CHOICES)
  elements = segment_order().orbit(prompt, math.factorial(sentences)).elements
  # Padded to one shape, so that all orbits are one compiled program.
  places, members = max(SENTENCES) + 2, math.factorial(max(SENTENCES))
  behind = [(0, places - len(segments))]
  prompt = prompt._replace(
      tokens=np.pad(prompt.tokens, (0, _TOKENS - prompt.tokens.size)),
      **{name: np.pad(getattr(prompt, name), behind) for name in ("starts", "lengths", "group")},
      block=np.arange(places, dtype=np.int32))
  still = np.tile(np.arange(len(segments), places), (len(elements), 1))
  elements = np.concatenate([elements, still], axis=1).astype(np.int32)
  filled = np.pad(elements, [(0, members - len(elements)), (0, 0)], mode="edge")
  return np.asarray(_log_probs(_params(seed), filled, prompt))[: len(elements)]


@functools.cache
def _params(seed: int) -> Any:
  """Random weights of ten times the usual deviation, so that the order matters."""
  return jax.tree.map(
      lambda a: a * 10 if a.ndim > 1 else a, init_params(CONFIG, jax.random.key(seed)))


@jax.jit
def _log_probs(params, elements_MxS, prompt):
  """float32[M, C] of all members."""
  score = scoring.view_scorer(scoring.scorer(CONFIG), segment_order())
  return jax.vmap(score, (None, 0, None))(params, elements_MxS, prompt).log_probs


def draw(members: int, num_views: int, repeats: bool, num_draws: int, seed: int) -> np.ndarray:
  """int[num_draws, K]: which members are drawn."""
  rng = np.random.default_rng([seed, members, num_views, repeats])
  if repeats:
    return rng.integers(0, members, (num_draws, num_views))
  return rng.permuted(np.tile(np.arange(members), (num_draws, 1)), axis=1)[:, :num_views]


@jax.jit
def _figures(log_probs_DxKxC, is_canonical_DxK, canonical_C, orbit_size):
  """Every figure of D draws, and the plug-ins beside them."""
  num_views = log_probs_DxKxC.shape[1]
  weights_K = jnp.full(num_views, -jnp.log(num_views))

  def one(log_probs_KxC, is_canonical_K):
    views = (log_probs_KxC, weights_K, orbit_size)
    own = gap.estimate(*views, canonical_C)._asdict()
    spread = variances.spread(jnp.exp(log_probs_KxC), weights_K, orbit_size)
    teacher = (canonical_C, *views, is_canonical_K, canonical_C)
    own["variance"] = spread.within
    own["squared_distance"] = gap.squared_distance_to_teacher(*teacher)
    own["kl_to_teacher"] = gap.kl_to_teacher(*teacher)
    own["jensen_shannon_plugin"] = divergences.jensen_shannon(log_probs_KxC, weights_K)
    own["kl_to_teacher_plugin"] = divergences.kl(gap.teacher_without(*teacher[1:]), canonical_C)
    return own

  return jax.vmap(one)(log_probs_DxKxC, is_canonical_DxK)


def simulate(
    sentences: int, num_views: int, repeats: bool, num_draws: int = NUM_DRAWS, seed: int = 0
) -> dict[str, Estimates]:
  """Estimates every figure of one orbit from many draws.

  Args:
    sentences: n; the orbit has n! members.
    num_views: K, at most n! without repeats.
    repeats: independent draws, estimated as such; else without repeats.
    num_draws: how often K views are drawn.
    seed: of weights, prompt and draws.
  """
  log_probs = orbit(sentences, seed)
  draws = draw(len(log_probs), num_views, repeats, num_draws, seed)
  # Independent draws repeat the canonical view as often as they should: none is left out.
  is_canonical = (draws == 0) & (not repeats)
  size = np.float32(np.inf if repeats else len(log_probs))
  parts = []
  for start in range(0, num_draws, _CHUNK):
    part = slice(start, start + _CHUNK)
    parts.append(jax.device_get(_figures(
        log_probs[draws[part]], is_canonical[part], log_probs[0], size)))
  exact = exact_figures(log_probs, num_views, repeats)
  out = {}
  for name in exact:
    values = np.concatenate([own[name] for own in parts]).astype(np.float64)
    values = values[~np.isnan(values)]  # two views, one of them canonical: no estimate
    # Where nearly all draws disagree, those drawn do not show how much a share scatters.
    spread = (math.sqrt(exact[name] * (1 - exact[name])) if name == "any_flip" else values.std())
    out[name] = Estimates(exact[name], values.mean(), spread / math.sqrt(len(values)))
  return out


def exact_figures(log_probs: np.ndarray, num_views: int, repeats: bool) -> dict[str, float]:
  """The figures of the whole orbit by their definitions, in float64.

  Args:
    log_probs: float[M, C], the canonical view first.
    num_views: K, for `any_flip`.
    repeats: whether draws may repeat, for `any_flip`.
  """
  p = np.exp(log_probs.astype(np.float64))
  mean, answers = p.mean(0), p.argmax(1)
  counts, size = np.bincount(answers), len(p)
  ways = (lambda n: n**num_views) if repeats else (lambda n: math.comb(n, num_views))
  js = (p * np.log(p / mean)).sum(1).mean()
  kl = (mean * np.log(mean / p[0])).sum()
  tv = np.abs(p - mean).sum(1).mean() / 2
  return {
      "pairwise_tv": np.abs(p[:, None] - p[None]).sum(-1).mean() / 2,
      "flip_rate": (answers != answers[0]).mean(),
      "any_flip": 1 - sum(ways(int(n)) for n in counts) / ways(size),
      "variance": ((p - mean) ** 2).sum(1).mean(),
      "squared_distance": ((p[0] - mean) ** 2).sum(),
      "tv_to_mean": tv, "tv_to_mean_plugin": tv,
      "jensen_shannon": js, "jensen_shannon_plugin": js,
      "kl_to_teacher": kl, "kl_to_teacher_plugin": kl,
  }


UNBIASED = ("pairwise_tv", "flip_rate", "any_flip", "variance", "squared_distance")
BIAS_REDUCED = ("tv_to_mean", "jensen_shannon", "kl_to_teacher")


def cases(sentences: Sequence[int] = SENTENCES, views: Sequence[int] = VIEWS):
  """(sentences, K, repeats): every K up to the orbit's size without repeats, all with them."""
  return [
      (n, k, repeats) for repeats in (False, True) for n, k in itertools.product(sentences, views)
      if repeats or k <= math.factorial(n)
  ]


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--draws", type=int, default=NUM_DRAWS, help="draws of each case")
  parser.add_argument("--seed", type=int, default=0, help="of weights, prompts and draws")
  parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
  args = parser.parse_args(arguments)
  if args.draws < 2:
    parser.error("--draws must be >= 2")
  rows = []
  for n, k, repeats in cases():
    found = simulate(n, k, repeats, args.draws, args.seed)
    rows.append({"members": math.factorial(n), "views": k, "repeats": repeats,
                 "figures": {name: own._asdict() for name, own in found.items()}})
  show(rows)
  if args.json:
    args.json.write_text(json.dumps(rows, indent=2) + "\n")
  return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
  """Prints two Markdown tables."""
  print("Bias in % of the exact value ± its standard error; in brackets that of the plug-in.\n")
  print("| draws | M | K |", " | ".join(f"`{name}`" for name in BIAS_REDUCED), "|")
  print("| --- |" + " ---: |" * (2 + len(BIAS_REDUCED)))
  for row in rows:
    cells = [f"{_percent(row, name)} ({_percent(row, f'{name}_plugin', False)})"
             for name in BIAS_REDUCED]
    print(f"| {_draws(row)} | {row['members']} | {row['views']} |", " | ".join(cells), "|")
  print("\nDifference from the exact value in its standard errors, of the unbiased figures.\n")
  print("| draws | M | K |", " | ".join(f"`{name}`" for name in UNBIASED), "|")
  print("| --- |" + " ---: |" * (2 + len(UNBIASED)))
  for row in rows:
    cells = [f"{_errors(Estimates(**row['figures'][name])):+.1f}" for name in UNBIASED]
    print(f"| {_draws(row)} | {row['members']} | {row['views']} |", " | ".join(cells), "|")


def _draws(row: dict[str, Any]) -> str:
  return "independent" if row["repeats"] else "without repeats"


def _percent(row: dict[str, Any], name: str, with_error: bool = True) -> str:
  """The bias in percent."""
  own = Estimates(**row["figures"][name])
  if own.stderr < 1e-6 * own.exact:  # the whole orbit
    return f"{100 * (own.mean / own.exact - 1):.1f}"
  error = f" ± {100 * own.stderr / own.exact:.1f}" if with_error else ""
  return f"{100 * (own.mean / own.exact - 1):+.1f}{error}"


def _errors(own: Estimates) -> float:
  """How many standard errors the mean is off; 0 where it is exact but for rounding."""
  off = own.mean - own.exact
  return 0.0 if abs(off) < 1e-6 else off / own.stderr


if __name__ == "__main__":
  main()
