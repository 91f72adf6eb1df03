"""Which examples are learnt from and which are judged by, and which of them are used."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds.sources import Source, Table
from mezzanine_jax.worlds.world import World, digest, stable_hash

TEST_SPLITS = ("validation", "test", "dev")
_TEST_SHARE = 0.25  # of the clusters, where a world has to be split here
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def read_parts(
  source: Source, train_split: str, test_split: str | None, what: str
) -> tuple[Table, Table | None]:
  """Reads the splits to learn from and to be judged by.

  A split is found by its name, or by a word of its name: `drugsComTrain_raw` is `train`.

  Args:
    source: an opened dataset.
    train_split: name of the split to learn from.
    test_split: name of the split to be judged by; None: `validation`, `test` or `dev`.
    what: what examples share that may not be split, for messages.

  Returns:
    The two tables; the second is None where the first has to be split.

  Raises:
    InputError: there is no such split, or it is empty.
  """
  if source.splits is None:
    return _filled(source, "all"), None
  train = _pick(source, train_split, "train_split")
  test = _pick_test(source, train, test_split, what)
  if test == train:
    return _filled(source, train), None
  return _filled(source, train), _filled(source, test)


def assemble(
  source: Source,
  train: Sequence[Example],
  test: Sequence[Example] | None,
  *,
  n_train: int,
  n_test: int,
  seed: int,
  num_labels: int,
  what: str,
  count: Callable[[list[Example]], dict[str, Any]],
  notes: dict[str, Any],
  **defaults: Any,
) -> World:
  """Separates the parts by cluster and takes the first examples of an order fixed by the seed.

  Args:
    source: the dataset, for messages.
    train: all examples to learn from.
    test: all examples to be judged by; None: a quarter of the clusters of `train`.
    n_train: how many training examples are asked for.
    n_test: how many test examples are asked for.
    seed: fixes the order of use and the split.
    num_labels: C.
    what: what examples of one cluster share ("passage"), for messages.
    count: counts what is unusual among the used examples of a part.
    notes: more of the world's notes; its `dropped` and `messages` stand before those made here.
    **defaults: the world's other fields.

  Raises:
    InputError: no example is left for one of the parts.
  """
  notes = {"dataset": source.name, "dropped": {}, "messages": []} | notes
  dropped, messages = dict(notes["dropped"]), list(notes["messages"])
  if test is None:
    split = train[0].id.partition(":")[0]
    train, test = _split_by_cluster(source.name, train, seed, what)
    messages.append(
      f"a quarter of the {what}s of {split!r}, chosen by the seed, makes the test part"
    )
  else:
    train_split, test_split = (part[0].id.partition(":")[0] for part in (train, test))
    held_out = {example.cluster for example in test}
    kept = [example for example in train if example.cluster not in held_out]
    if not kept:
      raise InputError(
        f"no training example is left in {source.name}: every {what} of {train_split!r} also "
        f"stands in {test_split!r}; choose other splits"
      )
    dropped[f"train: {what} also in test"] = len(train) - len(kept)
    train = kept
  notes |= {"dropped": dropped, "messages": messages}
  parts = {}
  for part, examples, asked in (("train", train, n_train), ("test", test, n_test)):
    # Sorted by a hash: an order that no library version changes.
    used = sorted(examples, key=lambda example: stable_hash("use", seed, example.id))[:asked]
    parts[part] = used
    notes[part] = {"asked": asked, "available": len(examples), "used": len(used)} | count(used)
    if len(used) < asked:
      messages.append(
        f"{asked} {part} examples were asked for, all {len(used)} that there are were used"
      )
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(parts["train"], parts["test"], num_labels, notes, digests, **defaults)


def without_repeats(examples: list[Example]) -> list[Example]:
  """The first example of every text and label."""
  return list({(e.cluster, e.label): e for e in reversed(examples)}.values())[::-1]


def _filled(source: Source, split: str) -> Table:
  """Reads a split that must not be empty."""
  table = source.read(split)
  if not table.rows:
    raise InputError(f"split {split!r} of {source.name} is empty: an example at least is needed")
  return table


def _named(source: Source, name: str) -> str | None:
  """The split of this name, or the only one that has it as a word of its name."""
  if name in source.splits:
    return name
  found = [
    split for split in source.splits
    if name.casefold() in [word.casefold() for word in _WORD.findall(split)]
  ]  # fmt: skip
  return found[0] if len(found) == 1 else None


def _pick(source: Source, name: str, argument: str) -> str:
  """Returns the split's full name where there is such a split."""
  found = _named(source, name)
  if found is None:
    raise InputError(
      f"{source.name} has no split {name!r}: set {argument} to one of {', '.join(source.splits)}"
    )
  return found


def _pick_test(source: Source, train: str, name: str | None, what: str) -> str:
  """Returns the test split's name: the one asked for, or the first usual one."""
  if name is not None:
    return _pick(source, name, "test_split")
  for usual in TEST_SPLITS:
    found = _named(source, usual)
    if found is not None and found != train:
      return found
  raise InputError(
    f"{source.name} has no split {', '.join(TEST_SPLITS[:-1])} or {TEST_SPLITS[-1]} (it has "
    f"{', '.join(source.splits)}): set test_split, to {train!r} to split that one by {what}"
  )


def _split_by_cluster(
  dataset: str, examples: Sequence[Example], seed: int, what: str
) -> tuple[list[Example], list[Example]]:
  """Splits examples into a training and a test part that share no cluster."""
  clusters = {example.cluster for example in examples}
  if len(clusters) < 2:
    raise InputError(
      f"{dataset} cannot be split: all its examples share one {what}; give a folder with train.* "
      "and validation.*"
    )
  order = sorted(clusters, key=lambda cluster: stable_hash("split", seed, cluster))
  held_out = set(order[: max(1, round(_TEST_SHARE * len(order)))])
  return (
    [example for example in examples if example.cluster not in held_out],
    [example for example in examples if example.cluster in held_out],
  )
