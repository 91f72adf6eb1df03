"""How far does an LM's answer move when the sentences of a passage change places?

    python examples/llm_boolq_order_gap.py --dataset boolq --lm_name gpt2

The whole library in one page: a world gives examples, a symmetry gives views that should not
change the answer, `warrant_gap` turns any predict function into the gap.
"""

import argparse

import jax
import numpy as np

import mezzanine_jax as mz
from mezzanine_jax import clustered, designs, language, prompts, scoring
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.worlds import load_world


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--dataset", default="boolq", help="boolq, a hub id or a local folder")
  parser.add_argument("--lm_name", default="gpt2", help="hub id, folder, .gguf file or pkg:NAME")
  parser.add_argument("--n_test", type=int, default=64, help="questions")
  parser.add_argument("--num_views", type=int, default=8, help="views of each")
  parser.add_argument("--max_length", type=int, default=512, help="most tokens of a prompt")
  args = parser.parse_args(argv)

  # Examples, as prompts: tokenized once, by segments, which are then re-ordered as arrays.
  examples = load_world("hf_qa", dataset=args.dataset, n_train=1, n_test=args.n_test, seed=0).test
  lm = load_lm(args.lm_name)
  prepared = language.prepare(
      examples, lm.tokenizer, evidence="passage", choices=[" no", " yes"],
      template="Passage: {passage}\nQuestion: {question}\nAnswer:",
      max_tokens=min(args.max_length, lm.config.max_positions),
  )
  xs = prompts.stack([tokenized.prompt for tokenized in prepared.tokenized])

  # A predict function: (params, x) -> log_probs[C] of one prompt.
  score = scoring.scorer(lm.config, dtype=lm.dtype)
  predict = lambda params, x: score(params, x).log_probs

  # A symmetry, and what it makes of the predict function.
  symmetry = mz.segment_order()
  gap_of = jax.jit(mz.warrant_gap(predict, symmetry, args.num_views))

  keys = designs.example_keys(jax.random.key(0), [example.id for example in examples])
  gaps = []
  for n in range(len(examples)):
    x = jax.tree.map(lambda a, n=n: a[n], xs)
    gaps.append(jax.device_get(gap_of(lm.params, keys[n], x)))
    print(f"\r{n + 1} of {len(examples)}", end="", flush=True)

  # Figures with standard errors, questions about one passage counted as one.
  clusters = [example.cluster for example in examples]
  print(f"\n{args.lm_name} on {args.dataset}, {len(examples)} questions, {args.num_views} views")
  for name, meaning in (
      ("pairwise_tv", "gap: total variation between two views"),
      ("jensen_shannon", "Jensen-Shannon divergence of the views, nats"),
      ("flip_rate", "views whose answer is not the canonical view's"),
  ):
    mean, stderr = clustered.mean_and_stderr([getattr(gap, name) for gap in gaps], clusters)
    print(f"{name:>16} {mean:.4f} ± {stderr:.4f}  {meaning}")

  # The question that moves most, as the model reads it and in the order of its segments.
  worst = int(np.argmax([gap.pairwise_tv for gap in gaps]))
  print(f"moves most (gap {gaps[worst].pairwise_tv:.3f}): {examples[worst].x['question']}")


if __name__ == "__main__":
  main()
