"""What all contenders are asked: the same prompts, in the same views, to the same weights."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

TEMPLATE = "Passage: {passage}\nQuestion: {question}\nAnswer:"
CHOICES = (" no", " yes")
_PEERS_NEED = "the peers are given weights as a Hugging Face Llama, so the model must be one of"


class Settings(NamedTuple):
  """Which model, examples and views."""

  model: str
  data: str
  examples: int
  views: int  # K: the canonical view and K - 1 that are drawn
  seed: int = 0


class Workload(NamedTuple):
  """The views as a peer needs them.

  Attributes:
    contexts: the text of each view, V = N K of them, one example after the other.
    example: int[V], the example of each view.
    row: int[V], the distinct text of each view.
    tokens: token ids of each distinct text.
    choices: token id of each choice.
    groups: one `(inputs, outputs of each matrix)` for every input that matrices of a block have.
    flops_per_token: of the matrix products in the blocks.
  """

  contexts: list[str]
  example: np.ndarray
  row: np.ndarray
  tokens: list[list[int]]
  choices: list[int]
  groups: tuple[tuple[int, tuple[int, ...]], ...]
  flops_per_token: int


class Engine(NamedTuple):
  """This library, ready to score: all that the benchmarks know of it.

  Attributes:
    lm: the language model.
    plan: the `language.Plan`.
    row: int[N, K], the row of every view.
    score: `(folder) -> choice_log_probs [R, C]`, scores all rows into a store in that folder.
  """

  lm: Any
  plan: Any
  row: np.ndarray
  score: Callable[[str | pathlib.Path], np.ndarray]


def engine(lm: Any, examples: list, views: int, seed: int, max_tokens: int) -> Engine:
  """Prepares and plans K views of every example, with the recipe's own settings."""
  import jax

  from mezzanine_jax import designs, language, scoring, store
  from mezzanine_jax.recipes.hf_llm_hiddenstate_order_distill import Config
  from mezzanine_jax.symmetries import segment_order

  symmetry = segment_order()
  prepared = language.prepare(
      examples, lm.tokenizer, template=TEMPLATE, evidence="passage", choices=CHOICES,
      max_tokens=max_tokens,
  )
  keys = designs.example_keys(jax.random.key(seed), [e.id for e in examples])
  plan = language.plan(
      prepared, lm.tokenizer, symmetry, keys, np.full(len(examples), views - 1),
      batch_tokens=Config.batch_tokens, max_shapes=Config.max_shapes,
  )
  batch_fn = scoring.view_rows_scorer(
      scoring.rows_scorer(lm.config, dtype=lm.dtype), symmetry
  )

  def score(folder: str | pathlib.Path) -> np.ndarray:
    made, _ = language.score(
        plan, batch_fn, lm.params, folder, "benchmark", ids=[e.id for e in examples]
    )
    return store.read(made, "choice_log_probs")

  return Engine(lm, plan, rows_of_views(plan.rows.canonical_row, plan.rows.row, views), score)


def boolq_engine(settings: Settings, dtype: str) -> Engine:
  """The engine with a model and questions about passages by name."""
  from mezzanine_jax.models.load import load_lm
  from mezzanine_jax.worlds.hf_qa import load

  world = load(settings.data, n_train=1, n_test=settings.examples, seed=settings.seed)
  if len(world.test) < settings.examples:
    raise ValueError(f"--examples must be at most {len(world.test)} for {settings.data}")
  lm = load_lm(settings.model, dtype)
  return engine(lm, world.test, settings.views, settings.seed, min(1024, lm.config.max_positions))


def rows_of_views(canonical_row: np.ndarray, drawn_row: np.ndarray, views: int) -> np.ndarray:
  """int[N, K]: the canonical view's row, then the drawn ones'; short orbits begin again."""
  out = []
  for first, rest in zip(canonical_row, drawn_row, strict=True):
    known = list(dict.fromkeys([first, *rest[rest >= 0]]))
    out.append(np.resize(known, views))
  return np.array(out)


def block_groups(config: Any) -> tuple[tuple[int, tuple[int, ...]], ...]:
  """The matrices of one block, those of one input together: `(inputs, (outputs, ...))`."""
  heads, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
  inner = (config.mlp_width,) * (2 if config.gated_mlp else 1)
  return (
      (config.width, (heads, kv, kv)),
      (heads, (config.width,)),
      (config.width, inner),
      (config.mlp_width, (config.width,)),
  )


def flops_per_token(config: Any) -> int:
  """2 x the matrix parameters of all blocks: no attention, no embeddings, no logits."""
  parameters = sum(inputs * sum(outputs) for inputs, outputs in block_groups(config))
  return 2 * config.num_layers * parameters


def write_workload(settings: Settings, folder: str) -> Callable[[], Workload]:
  """For a process of its own: writes the model to `folder` and gives the workload."""

  def make() -> Workload:
    made = boolq_engine(settings, "float32")
    export(made.lm, pathlib.Path(folder))
    return texts_of(made)

  return make


def texts_of(made: Engine) -> Workload:
  """The rows of a plan as texts, checked to be what the tokenizer makes of them.

  Raises:
    ValueError: if a text or a choice is not tokenized as the engine has it.
  """
  import jax

  from mezzanine_jax import prompts
  from mezzanine_jax.symmetries import segment_order

  rows, tokenizer = made.plan.rows, made.lm.tokenizer
  xs = jax.tree.map(lambda a: np.asarray(a)[rows.example], made.plan.xs)
  act = segment_order().act
  packed, lengths = jax.jit(jax.vmap(lambda e, x: prompts.pack(act(e, x))))(rows.elements, xs)
  tokens = [row[:n].tolist() for row, n in zip(np.asarray(packed), np.asarray(lengths),
                                               strict=True)]
  texts = tokenizer.decode_batch(tokens, skip_special_tokens=False)
  choices = [tokenizer.encode(choice, add_special_tokens=False).ids for choice in CHOICES]
  for text, ids in zip(texts, tokens, strict=True):
    if tokenizer.encode(text).ids != ids:
      raise ValueError("a view's tokens are not those of its text, so its peers cannot be asked"
                       f" the same: {text[:60]!r}")
  if any(len(ids) != 1 for ids in choices):
    raise ValueError(f"every choice must be one token of this model, got {choices}")
  row = made.row.reshape(-1)
  return Workload(
      [texts[r] for r in row], np.repeat(np.arange(len(made.row)), made.row.shape[1]), row,
      tokens, [ids[0] for ids in choices], block_groups(made.lm.config),
      flops_per_token(made.lm.config),
  )


def subset(workload: Workload, every: int) -> Workload:
  """All views of every n-th example."""
  views = np.flatnonzero(workload.example % every == 0)
  rows, row = np.unique(workload.row[views], return_inverse=True)
  return workload._replace(
      contexts=[workload.contexts[v] for v in views], example=workload.example[views],
      row=row.reshape(-1), tokens=[workload.tokens[r] for r in rows],
  )


def export(lm: Any, folder: pathlib.Path) -> None:
  """Writes a model of the llama family as a Hugging Face folder: config, weights, tokenizer.

  Raises:
    ValueError: for an architecture that `LlamaForCausalLM` does not have.
  """
  from safetensors.numpy import save_file

  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps(llama_config(lm.config)))
  save_file(llama_weights(lm.config, lm.params), folder / "model.safetensors", {"format": "pt"})
  lm.tokenizer.save(str(folder / "tokenizer.json"))
  special = [t.content for t in lm.tokenizer.get_added_tokens_decoder().values() if t.special]
  names = {"eos_token": special[0], "pad_token": special[0]} if special else {}
  settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def llama_config(config: Any) -> dict[str, Any]:
  """The `config.json` of an architecture.

  Raises:
    ValueError: if it is not plain Llama.
  """
  plain = (config.norm == "rmsnorm" and config.positions == "rotary" and config.gated_mlp
           and config.rope_scale == 1.0 and not config.qk_norm and config.sliding_window is None
           and not (config.qkv_bias or config.out_bias or config.mlp_bias))
  if not plain:
    raise ValueError(f"{_PEERS_NEED} that architecture (no biases, no windows)")
  frequencies = np.array(config.rope_frequencies)
  theta = float(frequencies[1] ** (-config.head_dim / 2)) if len(frequencies) > 1 else 10000.0
  published = theta ** (-2 * np.arange(len(frequencies)) / config.head_dim)
  if not np.allclose(frequencies, published, rtol=1e-5):
    raise ValueError(f"{_PEERS_NEED} unscaled rotary positions")
  return {
      "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32",
      "vocab_size": config.vocab_size, "hidden_size": config.width,
      "num_hidden_layers": config.num_layers, "num_attention_heads": config.num_heads,
      "num_key_value_heads": config.num_kv_heads, "head_dim": config.head_dim,
      "intermediate_size": config.mlp_width, "max_position_embeddings": config.max_positions,
      "rms_norm_eps": config.norm_eps, "hidden_act": config.activation, "rope_theta": theta,
      "rope_parameters": {"rope_type": "default", "rope_theta": theta},
      "tie_word_embeddings": config.tied_embeddings,
  }


def llama_weights(config: Any, params: Any) -> dict[str, np.ndarray]:
  """The float32 parameters under Hugging Face's names, matrices as [out, in]."""
  import jax

  from mezzanine_jax.models.families.llama import LLAMA

  out = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    name = "/".join(key.key for key in path)
    source = LLAMA.weights[name]
    prefix = "" if name == "unembed" else LLAMA.prefix
    for layer in range(config.num_layers if name.startswith("layers/") else 1):
      array = np.asarray(leaf[layer] if name.startswith("layers/") else leaf, np.float32)
      array = array.T if source.transposed else array
      out[prefix + source.name.format(layer)] = np.ascontiguousarray(array)
  return out
