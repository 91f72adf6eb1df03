"""A language model's beliefs over the views of prompts: from text to a filled row table."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import (
    designs,
    engine,
    hosts,
    packing,
    prompts,
    scoring,
    tokenization,
    view_rows,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax import texts as texts_lib
from mezzanine_jax.base import Example, Params, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.models import transformer
from mezzanine_jax.symmetries.still import still

# Raise it when the same model, tokens and settings give other rows than before.
SCORER_VERSION = 1


class Prepared(NamedTuple):
  """Text examples as prompts.

  Attributes:
    tokenized: one a text example, in order.
    counts: what happened to the texts: truncated, not exact, without evidence, one sentence.
    max_tokens: the most tokens that a prompt and its answer may have together.
  """

  tokenized: list[tokenization.Tokenized]
  counts: dict[str, int]
  max_tokens: int


class Plan(NamedTuple):
  """What is to be run: inputs, rows in the order of the batches, batches.

  Attributes:
    xs: `Prompt` or `Wordings` [N', ...]; the N prompts, then one ready prompt for each row of an
      example whose segments do not tokenize alone.
    views: `Views` [N, K].
    rows: the distinct rows.
    source: int32[R], where each row's prompt is in `xs`.
    texts_of: `(int[B]) -> packing.Texts`, the tokens of some rows.
    lengths: int[R], tokens of each row.
    shared: int[R], how many first tokens a row has in common with the row before it.
    batches: see `engine.plan_batches`.
    set_orders: how many orders attention is averaged over, see `as_set`; None for rows that are
      read as they stand.
    is_sorted: whether their evidence is sorted first.
  """

  xs: prompts.Prompt
  views: Views
  rows: engine.Rows
  source: np.ndarray
  texts_of: Callable[[np.ndarray], packing.Texts]
  lengths: np.ndarray
  shared: np.ndarray
  batches: list[engine.Batch]
  set_orders: int | None = None
  is_sorted: bool = False


def prepare(
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    template: str | Sequence[Any],
    evidence: str | None,
    choices: Sequence[str] | None,
    max_tokens: int,
    unit: str = "sentence",
    paraphrases: str | None = None,
    shots: int = 0,
    demonstrations: Sequence[Example] = (),
    seed: int = 0,
    around: tuple[str, str] | None = None,
) -> Prepared:
  """Fills the template with every example, in all its wordings, and tokenizes by segments.

  Args:
    examples: their `x` is a dict of fields: str, lists of str, dicts.
    tokenizer: the model's `tokenizers.Tokenizer`.
    template: with `{field}` placeholders, see `templates.parse_template`; or several wordings,
      see `templates.read_wordings`.
    evidence: the field whose units may change places, None for none.
    choices: the answers; choice c is label c. None: the labels of the options.
    max_tokens: the most tokens that prompt and answer may have together.
    unit: what the evidence is split into: `sentence`, `paragraph` or `document`.
    paraphrases: a list field with paraphrases of the evidence, each a wording more.
    shots: worked examples in each prompt.
    demonstrations: what they are taken from; the training examples.
    seed: fixes which ones are taken.
    around: text before and behind a chat model's user message, see `chat.around_message`.

  Raises:
    InputError: for a template, choice, field or question that cannot be used.
  """
  written = texts_lib.write(
      examples, template=template, evidence=evidence, choices=choices, unit=unit,
      paraphrases=paraphrases, shots=shots, demonstrations=demonstrations, seed=seed,
  )
  beginning = None
  if around is not None:
    beginning, around = tokenization.chat_beginning(tokenizer, around)
    written = written._replace(
        texts=[[texts_lib.as_chat(t, *around) for t in ts] for ts in written.texts]
    )
  made = tokenization.tokenize_prompts(
      tokenizer, written.texts, max_tokens, beginning=beginning, weights=written.weights
  )
  return Prepared(made, {
      "truncated_prompts": sum(t.dropped + t.dropped_demonstrations > 0 for t in made),
      "dropped_sentences": sum(t.dropped for t in made),
      "dropped_demonstrations": sum(t.dropped_demonstrations for t in made),
      "tokenized_as_whole_texts": sum(not t.exact for t in made),
      "without_evidence": sum(not t.evidence for t in made),
      "one_sentence": sum(len(t.evidence) == 1 for t in made),
  }, max_tokens)


def plan(
    prepared: Prepared,
    tokenizer: Any,
    symmetry: Symmetry,
    keys: jax.Array,
    num_views: np.ndarray,
    *,
    batch_tokens: int,
    max_shapes: int,
    share: bool = True,
    design: str | np.ndarray = "distinct",
) -> Plan:
  """Draws the views of every example and plans the distinct rows.

  Args:
    prepared: N prompts.
    tokenizer: the model's, for prompts that have to be tokenized as whole texts.
    symmetry: the family the views are drawn from.
    keys: typed key array [N], see `designs.example_keys`.
    num_views: int[N], K of each example.
    batch_tokens: tokens of a batch.
    max_shapes: the most shapes that are compiled.
    share: whether views with the same beginning share its tokens; for causal models only.
    design: of all examples, or str[N]; see `designs.design_views`.
  """
  tokenized = prepared.tokenized
  xs = prompts.stack([t.prompt for t in tokenized])
  views = designs.design_parts(symmetry, xs, keys, num_views, design)
  identities = jax.tree.map(np.asarray, jax.vmap(symmetry.identity)(xs))
  rows = engine.distinct_rows(views, identities)
  source = rows.example.copy()
  whole = np.flatnonzero([not tokenized[n].exact for n in rows.example])
  if len(whole):
    orders = view_rows.segment_orders(symmetry, rows, whole, xs)
    ready = [
        tokenization.whole_prompt(tokenizer, tokenized[rows.example[r]], order)
        for r, order in zip(whole, orders, strict=True)
    ]
    source[whole] = len(tokenized) + np.arange(len(whole))
    xs = prompts.stack([t.prompt for t in tokenized] + ready)
  texts_of = view_rows.texts_of(symmetry, xs, rows, source)
  lengths, answers = view_rows.sizes(texts_of, len(source))
  if (longest := int((lengths + answers).max())) > prepared.max_tokens:
    # It would be read at positions that the model does not have.
    raise InputError(
        f"a view has {longest} tokens when tokenized as a whole text, more than the"
        f" {prepared.max_tokens} that fit; lower max_length by a tenth"
    )
  order, shared = view_rows.order(texts_of, rows.example, lengths, share)
  batches = engine.plan_batches(
      lengths[order], batch_tokens, max_shapes, shared=shared, extra=extra_tokens(xs))
  rows, source = engine.reorder(rows, order), source[order]
  texts_of = view_rows.texts_of(symmetry, xs, rows, source)
  return Plan(xs, views, rows, source, texts_of, lengths[order], shared, batches)


def plan_canonical(
    prepared: Prepared, tokenizer: Any, *, batch_tokens: int, max_shapes: int
) -> Plan:
  """A row for each prompt, each as it is; see `plan`."""
  number = len(prepared.tokenized)
  keys = designs.example_keys(jax.random.key(0), list(map(str, range(number))))
  # With one row an example there is nothing that views could share.
  return plan(prepared, tokenizer, still(), keys, np.ones(number, int), share=False,
              batch_tokens=batch_tokens, max_shapes=max_shapes)


def with_segments(prepared: Prepared, count: int) -> Prepared:
  """The same prompts, padded to so many segments: as many as those of another run had.

  Args:
    prepared: prompts, none of them in several wordings.
    count: S.

  Raises:
    InputError: a prompt has more.
  """
  most = max(len(t.prompt.starts) for t in prepared.tokenized)
  if most > count:
    raise InputError(f"a text has {most} segments with its question, more than the {count} of the"
                     " run, whose student reads the states of each: shorten it")
  first, *others = prepared.tokenized
  more = (0, count - len(first.prompt.starts))
  padded = {name: np.pad(getattr(first.prompt, name), more)
            for name in ("starts", "lengths", "group", "block")}
  return prepared._replace(
      tokenized=[first._replace(prompt=first.prompt._replace(**padded)), *others])


def as_set(plan: Plan, symmetry: Symmetry, orders: int, is_sorted: bool = True) -> Plan:
  """The same rows, of which each is read as a set of its evidence.

  Attention is averaged over some orders of the evidence, see `prompts.set_places`. With evidence
  that is sorted first, see `prompts.sort_evidence`, views of one example say the same, whatever
  their order. Rows share no tokens then, so that they have to be batched anew by `only_rows`,
  unless none were shared before.

  Args:
    plan: the rows.
    symmetry: the family of their views.
    orders: how many; 1 for rows that are only sorted.
    is_sorted: whether the evidence is sorted first.
  """
  batches = [] if plan.shared.any() else plan.batches
  return plan._replace(
      texts_of=view_rows.texts_of(symmetry, plan.xs, plan.rows, plan.source, orders, is_sorted),
      shared=np.zeros_like(plan.shared), batches=batches, set_orders=orders, is_sorted=is_sorted)


def only_rows(plan: Plan, which: np.ndarray, batch_tokens: int, max_shapes: int) -> Plan:
  """Some rows of a plan, batched anew: to be run, not to be looked up (the index is empty).

  Args:
    plan: the rows.
    which: int[n], distinct numbers of rows.
    batch_tokens: tokens of a batch.
    max_shapes: the most shapes that are compiled.
  """
  which = np.sort(which)
  # What a row shares with one further ahead is the least that is shared on the way.
  shared = [0, *(plan.shared[a + 1 : b + 1].min() for a, b in itertools.pairwise(which))]
  shared = np.array(shared, np.int32)
  batches = engine.plan_batches(
      plan.lengths[which], batch_tokens, max_shapes, shared=shared, extra=extra_tokens(plan.xs))
  elements = jax.tree.map(lambda a: a[which], plan.rows.elements)
  none = np.empty(0, np.int32)
  rows = engine.Rows(plan.rows.example[which], elements, none, none[:, None])
  views = jax.tree.map(lambda a: a[:0], plan.views)  # of no example, as the index is
  return plan._replace(
      views=views, rows=rows, source=plan.source[which],
      texts_of=lambda part: plan.texts_of(which[part]),
      lengths=plan.lengths[which], shared=shared, batches=batches,
  )


def score(
    plan: Plan,
    batch_fn: Callable[..., scoring.Scores],
    params: Params,
    path: Any,
    fingerprint: str,
    *,
    ids: Sequence[str],
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
    processes: hosts.Processes = hosts.ALONE,
) -> tuple[store_lib.Store, int]:
  """Runs the rows that the store in `path` does not hold yet, or has lost.

  Args:
    plan: from `plan`.
    batch_fn: `(params, elements, rows) -> Scores`, see `scoring.view_rows_scorer`. The same
      function for two calls compiles once.
    params: the language model's.
    path: the store's folder.
    fingerprint: of everything that changes the rows; a store with all of them is only read.
    ids: the examples' names, for errors.
    about: what a reader may want to know of the store.
    progress: called with the number of rows whenever some are done.
    processes: that share the work; see `hosts.here`.

  Returns:
    The store, every row done, and how many rows were run now.

  Raises:
    InputError: if another process writes the store, it belongs to another run, or it cannot be
      written; or if a text has a token that is none of the model's.
    hosts.Left: in all processes but the first, when they have done their shares.
  """
  _check_tokens(plan.xs, params["embed"].shape[0])
  return engine.fill(
      batch_fn, ready(params), lambda batch: batch_inputs(plan, batch), plan.batches, plan.rows,
      plan.views, path, fingerprint, ids=ids, about=about, progress=progress, processes=processes,
  )


def _check_tokens(xs: prompts.Prompt | prompts.Wordings, size: int) -> None:
  """Raises where a text has a token that is none of the model's, which would read another one's."""
  every = xs.all if isinstance(xs, prompts.Wordings) else xs
  most = max(int(np.max(a, initial=0)) for a in (every.tokens, every.choices))
  if most >= size:
    raise InputError(f"a text has the token {most}, but the model's are 0 to {size - 1}: its"
                     " tokenizer was given tokens that the model does not know")


def ready(params: Params) -> Params:
  """The parameters as `batch_fn` takes them."""
  return transformer.layers_as_bits(params)


def batch_inputs(plan: Plan, batch: engine.Batch) -> tuple[Any, scoring.PackedRows]:
  """The elements and the packed rows of a batch: what `batch_fn` takes behind the params."""
  which = np.arange(batch.start, batch.stop)
  return pack(plan, which, plan.shared[which], tokens=batch.tokens, size=batch.size,
              length=batch.length)


def pack(
    plan: Plan, which: np.ndarray, shared: np.ndarray, *, tokens: int, size: int, length: int
) -> tuple[Any, scoring.PackedRows]:
  """The elements and the packed rows of any rows of a plan.

  Args:
    plan: the rows.
    which: int[n], numbers of rows, n <= size.
    shared: int[n], how many first tokens each has in common with the one before it.
    tokens: of the stream, those of the choices among them (`extra_tokens` a row).
    size: rows of the result; those behind the n are padding.
    length: places of a row for its prompt.
  """
  packed = packing.pack_rows(
      plan.texts_of(which), shared, num_tokens=tokens, num_rows=size, length=length)
  filled = which[np.minimum(np.arange(size), len(which) - 1)]
  return jax.tree.map(lambda a: a[filled], plan.rows.elements), packed


def extra_tokens(xs: prompts.Prompt) -> int:
  """Tokens that every row has behind its prompt: all but the last of each choice."""
  num_choices, width = prompts.current(xs).choices.shape[-2:]
  return num_choices * (width - 1)


def choice_lengths(plan: Plan) -> np.ndarray:
  """int32[R, C], tokens of every row's choices, as they stand in its prompt (not aligned)."""
  rows = np.arange(len(plan.source))
  parts = [plan.texts_of(rows[at : at + view_rows.CHUNK]).choice_lengths
           for at in range(0, len(rows), view_rows.CHUNK)]
  return np.concatenate(parts)


def digest(plan: Plan) -> str:
  """SHA-256 over the tokens, the views and the order of the rows: what each row stands for."""
  rows = (plan.source, plan.rows.elements, plan.rows.canonical_row, plan.rows.row)
  own = engine.digest((plan.xs, rows, plan.views.log_weights, plan.views.orbit_size))
  as_is = plan.set_orders is None
  return own if as_is else f"{own} as a set {plan.set_orders} {plan.is_sorted}"


def cost(plan: Plan) -> dict[str, int]:
  """Views, distinct rows, their tokens, those shared, those run, and compiled shapes."""
  return {
      "views": int(np.isfinite(plan.views.log_weights).sum() + len(plan.rows.canonical_row)),
      "rows": len(plan.rows.example),
      "tokens": int(plan.lengths.sum()),
      "shared_tokens": int(plan.lengths.sum()) - _held_tokens(plan),
      "padded_tokens": sum(b.tokens for b in plan.batches),
      "compiled_shapes": len({b[2:] for b in plan.batches}),
  }


def _held_tokens(plan: Plan) -> int:
  """Tokens of the prompts, those that rows of one batch share counted once."""
  first = [b.start for b in plan.batches]
  return int((plan.lengths - plan.shared).sum() + plan.shared[first].sum())
