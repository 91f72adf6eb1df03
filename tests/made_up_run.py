"""A finished run of random beliefs whose every text is hostile, without a model."""

import json

import numpy as np

from mezzanine_jax import comparison, predictions, runs
from mezzanine_jax.base import Example
from mezzanine_jax.evaluation import Beliefs

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "{{ 7*7 }} {% raw %}",
    "a | b\n\n# c ![x](http://e.example/i.png) [y](javascript:alert(1))",
    r"\input{/etc/passwd} 50% $x_1^2$ & ~#",
    "```\nend of block\n````",
    "\u202eevil \u0000 \ud800 🙂",
    "--> </svg> ]]> </style>",
    "&lt;b&gt; &amp; &#60;",
    "$\\frac{",
    "=1+1",
    "- @someone www.e.example",
]


def beliefs(rng, num=12, views=3, choices=3, orbit=120.0) -> Beliefs:
  """Random beliefs on N examples."""
  log_probs = rng.normal(0, 1, (num, views + 1, choices))
  log_probs = (log_probs - np.log(np.exp(log_probs).sum(-1, keepdims=True))).astype(np.float32)
  weights = np.full((num, views), -np.log(views), np.float32)
  return Beliefs(log_probs[:, 1:], weights, np.full(num, orbit, np.float32), log_probs[:, 0],
                 np.zeros((num, views), bool))


def write(folder, student=True, movable=True, **changes):
  """Writes the folder of such a run and returns its results."""
  rng = np.random.default_rng(0)
  folder.mkdir(parents=True)
  labels = rng.integers(0, 3, 12)
  examples = [Example(f"{n} {HOSTILE[n]}", {}, int(label), f"c{n}")
              for n, label in enumerate(labels)]
  clusters = [e.cluster for e in examples]
  names = ("baseline", "student", "constant", "shuffled_targets") if student else ("baseline",)
  models = {name: beliefs(rng, orbit=120.0 if movable else 1.0) for name in names}
  lm = models["baseline"]
  if student:
    others = {name: own for name, own in models.items() if name != "baseline"}
    blocks = comparison.student_blocks(lm, others, labels, clusters, 0)
  else:
    blocks = comparison.gap_blocks(lm, labels, clusters, 0)
  shown = comparison.most_moved(lm, 5)
  results = {
      "recipe": "llm_order_gap", "version": HOSTILE[1],
      "config": {"lm_name": HOSTILE[0], "dataset": HOSTILE[4], "world": "hf_qa", "k_test": 3,
                 "symmetry": HOSTILE[5], "seed": 0, "student": HOSTILE[6], "template": HOSTILE[6]},
      "environment": {"device": HOSTILE[2], "device_count": 1, "packages": {"jax": HOSTILE[3]}},
      "data": {"choices": [HOSTILE[10], HOSTILE[0], HOSTILE[7]], "template": HOSTILE[6],
               "notes": {"messages": HOSTILE}, "prompts": {"one_sentence": 1},
               "train": {"examples": 0}, "test": {"examples": 12, "movable": 12 * movable}},
      "cost": {"rows": 40, "views": 48, "seconds": 1.0, "total_seconds": 2.0},
      **blocks,
      "gap_by_segments": comparison.gap_by_segments(lm, np.arange(12) % 3 + 2, clusters),
      "examples": [
          {"id": examples[e["example"]].id, "label": e["example"] % 3,
           "pairwise_tv": e["pairwise_tv"],
           "views": [{"view": k, "probabilities": [0.2, 0.3, 0.5], "text": HOSTILE[e["example"]]}
                     for k in e["views"]]}
          for e in shown],
  } | changes
  runs.write_json(folder / "config.json", {"recipe": "llm_order_gap", "config": {}})
  predictions.write(folder / "predictions.json", examples, models)
  runs.write_json(folder / "results.json", results)
  return json.loads((folder / "results.json").read_text())
