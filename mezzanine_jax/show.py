"""The prompt as the model sees it, in colours, for some views of an example."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mezzanine_jax import designs, experiment
from mezzanine_jax.base import Array, Symmetry
from mezzanine_jax.prompts import GROUP_NAMES, Wordings, current, number_segments
from mezzanine_jax.tokenization import Tokenized, whole_prompt

STYLES = ("", "cyan", "green", "magenta", "yellow")  # of the groups, see `Prompt.group`


def render_views(
    tokenizer: Any, tokenized: Tokenized, symmetry: Symmetry, key: Array, num_views: int,
    design: str = "distinct", most: int | None = None,
) -> Any:
  """An example's canonical prompt and some of its views, coloured by what may change places.

  The views are those that a run draws with the same key, number and design.

  Args:
    tokenizer: the model's.
    tokenized: the example, one of `Prepared.tokenized`.
    symmetry: the family the views are drawn from.
    key: the example's typed PRNG key, see `designs.example_keys`; consumed.
    num_views: K >= 1.
    design: see `designs.design_views`.
    most: how many of the views are shown; None for all.

  Returns:
    A `rich` renderable; print it with `rich.print`.

  Example:
    >>> shown = render_views(tokenizer, prepared.tokenized[0], symmetry, key, 3)  # doctest: +SKIP
    >>> rich.print(shown)  # doctest: +SKIP
  """
  from rich.console import Group
  from rich.panel import Panel
  from rich.text import Text

  x = tokenized.prompt
  one = jax.tree.map(lambda a: np.asarray(a)[None], x)
  views = designs.design_views(symmetry, one, key[None], num_views, design)
  real = np.flatnonzero(np.isfinite(views.log_weights[0]))
  elements = [jax.tree.map(lambda a, k=k: a[0, k], views.elements) for k in real[:most]]
  used = np.unique(x.all.group if isinstance(x, Wordings) else x.group)
  panels = [Text.assemble(*(
      part for n in used[used > 0] for part in ((GROUP_NAMES[n], f"bold {STYLES[n]}"), "  ")))]
  titles = ["canonical view", *(
      f"view {k + 1} of {len(real)}, weight {np.exp(views.log_weights[0, k]):.3g}"
      for k in real[:most])]
  for title, element in zip(titles, [symmetry.identity(x), *elements], strict=True):
    acted = current(symmetry.act(element, number_segments(x)))
    panels.append(_panel(Panel, Text, tokenizer, tokenized, np.asarray(acted.starts), title))
  return Group(*panels)


def _panel(
    panel: Any, text: Any, tokenizer: Any, tokenized: Tokenized, order: Sequence[int], title: str
) -> Any:
  """One view in a frame: its text in colours, its answers, how many tokens it has."""
  size = len(order)
  which = int(order.min()) // size
  wording, x = tokenized.texts[which], tokenized.prompt
  pieces = [wording.pieces[s] for s in order % size if s < len(wording.pieces)]
  body = text()
  body.append("".join(tokenizer.id_to_token(i) for i in tokenized.beginning), style="dim")
  for piece in pieces:
    body.append(piece.text, style=STYLES[piece.group])
  body.append("".join(tokenizer.id_to_token(i) for i in tokenized.ending), style="dim")
  body.append("|".join(wording.choices), style="reverse")
  if not tokenized.exact:
    lengths = current(whole_prompt(tokenizer, tokenized, order)).lengths
  else:
    lengths = x.all.lengths[which] if isinstance(x, Wordings) else x.lengths
  how = "" if tokenized.exact else ", tokenized as a whole text"
  return panel(body, title=title, subtitle=f"{int(np.sum(lengths))} tokens{how}")


def show_views(
    config: Any, number: int, most: int = 3,
    ask: Callable[..., experiment.Asked] = experiment.ask,
) -> Any:
  """Some test examples with some of their views, as the model sees them.

  Args:
    config: as for `experiment.ask`.
    number: how many examples; those that can move come first.
    most: views of each that are shown, out of the `k_test` that a run draws.
    ask: called as the function of that name.

  Returns:
    A `rich` renderable.
  """
  from rich.console import Group
  from rich.text import Text

  asked = ask(config, lambda data: experiment.only_test(data, 10 * number))
  tokenized = asked.prepared.tokenized
  moves = [asked.symmetry.orbit_size(t.prompt) > 1 for t in tokenized]
  chosen = sorted(range(len(moves)), key=lambda n: not moves[n])[:number]
  drawn = experiment.drawn(config, asked.data)
  shown = []
  for n in chosen:
    example = asked.data.examples[n]
    answer = "unknown" if example.label is None else asked.choices[example.label].strip()
    shown.append(Text(f"\nexample {example.id}, right answer: {answer}", style="bold"))
    shown.append(
        render_views(asked.lm.tokenizer, tokenized[n], asked.symmetry, drawn["keys"][n],
                     int(drawn["num_views"][n]), str(drawn["design"][n]), most))
  return Group(*shown)
