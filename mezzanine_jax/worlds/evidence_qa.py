"""A generated world: short passages of independent facts, each with a yes/no question.

Every question has two opposite passages which differ in who plays which part (Nora's kettle is
red and Hugo's is blue, or the other way round). A fair coin chooses between them, so that
neither the question nor the words of the passage alone tell the answer, and the order of the
sentences says nothing at all.
"""

import itertools
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import evidence_words as words
from mezzanine_jax.worlds.chance import below as _below
from mezzanine_jax.worlds.chance import pick as _pick
from mezzanine_jax.worlds.chance import shuffled as _shuffled
from mezzanine_jax.worlds.world import World, check_counts, digest

VERSION = 1
NAME = "evidence_qa"
_SMALL = "zero one two three four five six seven eight nine ten".split()


class _Scene(NamedTuple):
  """One question and the facts that decide it."""

  question: str
  facts: list[str]
  about: list[str]  # who or what the facts are about
  topic: str  # what nothing more may be said about `about`
  closed: bool = False  # nor about anybody else (where people are counted)


def load(dataset: str = NAME, *, n_train: int, n_test: int, seed: int = 0) -> World:
  """Generates a world of yes/no questions about short passages.

  The examples are fixed for ever by `VERSION`, the seed, the part (train or test) and their
  position: fewer examples are the beginning of more. Each part has as many yes as no answers
  (within one), also among the questions of one type.

  Args:
    dataset: must be `evidence_qa`; there is nothing to choose.
    n_train: number of training examples, >= 1.
    n_test: number of test examples, >= 1.
    seed: another seed gives other examples.

  Returns:
    A `World` whose examples have the fields `passage` (4 to 7 sentences) and `question`;
    label 0 is no, label 1 is yes.

  Raises:
    InputError: a number is not a whole number >= 1, or another dataset is asked for.

  Example:
    >>> world = load(n_train=2, n_test=2, seed=0)
    >>> sorted(example.label for example in world.train)
    [0, 1]
  """
  if dataset != NAME:
    raise InputError(
      f"the world {NAME} generates its own data: dataset must be {NAME!r}, got {dataset!r}"
    )
  check_counts(n_train, n_test)
  if isinstance(seed, bool) or not isinstance(seed, int):
    raise InputError(f"seed must be a whole number, got {seed!r}")
  seen: set[frozenset[str]] = set()
  test = _part("test", n_test, seed, seen)
  train = _part("train", n_train, seed, seen)
  parts = {"train": train, "test": test}
  notes = {"dataset": NAME, "version": VERSION, "dropped": {}, "messages": []}
  for part, examples in parts.items():
    used, yes = len(examples), sum(example.label for example in examples)
    labels = {"0": used - yes, "1": yes}
    # There is any number of them: available is null.
    notes[part] = {"asked": used, "available": None, "used": used, "labels": labels}
    notes[part]["passages"] = used
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(train, test, 2, notes, digests, evidence="passage")


def _part(part: str, count: int, seed: int, seen: set[frozenset[str]]) -> list[Example]:
  """Generates the first examples of a part; a passage that is in `seen` is drawn again."""
  root = f"{NAME}/{VERSION}/{seed}/{part}"
  examples = []
  for block in range(-(-count // (2 * len(_TYPES)))):
    # A block holds every type in a pair: once with the answer yes, once with no.
    random = Random(f"{root}/block/{block}")
    for kind in _shuffled(random, list(_TYPES)):
      for yes in _shuffled(random, [False, True]):
        name = f"{root}/{len(examples)}/{kind}"
        attempt = 0
        while (drawn := _draw(Random(f"{name}/{attempt}"), kind, yes))[1] in seen:
          attempt += 1
        x, facts = drawn
        seen.add(facts)
        examples.append(Example(name, x, int(yes), name))
  return examples[:count]


def _draw(random: Random, kind: str, yes: bool) -> tuple[dict[str, str], frozenset[str]]:
  """Draws one passage and its question; also the set of its facts."""
  fresh = {name: _shuffled(random, pool) for name, pool in words.POOLS.items()}
  scene = _TYPES[kind](random, fresh, yes)
  facts = list(scene.facts)
  length = 4 + _below(random, 4)
  said = {(name, scene.topic) for name in scene.about}
  while len(facts) < length:
    fact = _distractor(random, fresh, scene, said)
    facts += [fact] if fact else []
  facts = _shuffled(random, facts)
  return {"passage": " ".join(facts), "question": scene.question}, frozenset(facts)


def _value(random: Random, fresh: dict, yes: bool, kinds: Sequence[str]) -> _Scene:
  """Whether somebody or something has a value, where another one has the value if not."""
  kind = _pick(random, kinds)
  topic = _pick(random, list(words.VALUES[kind]))
  v, w = _shuffled(random, words.VALUES[kind][topic])[:2]
  a, b = _two(fresh["things" if kind == "room" else "people"])
  has, lacks = (a, b) if yes else (b, a)
  facts = [_value_fact(random, kind, topic, has, v), _value_fact(random, kind, topic, lacks, w)]
  question = _say(random, words.VALUE_QUESTIONS[kind], a=a, v=v, av=_article(v), o=topic)
  return _Scene(question, facts, [a, b], topic)


def _attribute(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Has somebody this colour, favourite or job?"""
  return _value(random, fresh, yes, ("colour", "favourite", "job"))


def _place(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Is somebody or something in this place?"""
  return _value(random, fresh, yes, ("city", "room"))


def _comparison(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Is one larger than another, said outright or by two numbers?"""
  if _below(random, 3) == 0:
    return _ordered(random, fresh, yes, 2)
  less = _below(random, 2)
  topic = _pick(random, list(words.MEASURES))
  pool, low, high, pair, questions, templates = words.MEASURES[topic]
  a, b = _two(fresh[pool])
  large, small = (a, b) if yes != bool(less) else (b, a)
  small_value = low + _below(random, high - low)
  large_value = small_value + 1 + _below(random, high - small_value)
  facts = [
    _say(random, templates, a=large, v=large_value),
    _say(random, templates, a=small, v=small_value),
  ]
  return _Scene(_say(random, questions, a=a, b=b, m=pair[less]), facts, [a, b], topic)


def _chain(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Is one larger than another, by way of a third?"""
  return _ordered(random, fresh, yes, 3)


def _ordered(random: Random, fresh: dict, yes: bool, count: int) -> _Scene:
  """A chain of comparisons; the question is about its two ends."""
  topic = _pick(random, list(words.RELATIONS))
  pool, pair, _ = words.RELATIONS[topic]
  members = [fresh[pool].pop() for _ in range(count)]  # from the largest to the smallest
  facts = [_relation_fact(random, topic, *both) for both in itertools.pairwise(members)]
  less = _below(random, 2)
  ends = (members[0], members[-1]) if yes != bool(less) else (members[-1], members[0])
  question = _say(random, words.COMPARE_QUESTIONS, a=ends[0], b=ends[1], m=pair[less])
  return _Scene(question, facts, members, topic)


def _more(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Has one more or fewer of something than another?"""
  topic, (a, b) = _pick(random, words.COUNTED), _two(fresh["people"])
  fewer = _below(random, 2)
  facts = _two_counts(random, topic, *((a, b) if yes != bool(fewer) else (b, a)))[0]
  m = ("more", "fewer")[fewer]
  return _Scene(_say(random, words.MORE_QUESTIONS, a=a, b=b, m=m, o=topic), facts, [a, b], topic)


def _threshold(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Has somebody at least, or fewer than, so many of something?"""
  topic, (a, b) = _pick(random, words.COUNTED), _two(fresh["people"])
  form = _pick(random, ("at least", "more than", "fewer than", "at most"))
  many = form in ("at least", "more than")
  facts, small, large = _two_counts(random, topic, *((a, b) if yes == many else (b, a)))
  limit = small + 1 + _below(random, large - small)  # small < limit <= large
  limit -= form in ("more than", "at most")
  quantity = f"{form} {_number(limit)}"
  question = _say(random, words.THRESHOLD_QUESTIONS, a=a, q=quantity, o=topic)
  return _Scene(question, facts, [a, b], topic)


def _tally(random: Random, fresh: dict, yes: bool) -> _Scene:
  """Do more people share one value than another, or at least or exactly so many?"""
  kind = _pick(random, list(words.TALLY_QUESTIONS))
  topic = _pick(random, list(words.VALUES[kind]))
  v, w = _shuffled(random, words.VALUES[kind][topic])[:2]
  count = 3 + 2 * _below(random, 2)
  most = count // 2 + 1
  form = _pick(random, ("more", "at least", "exactly"))
  # Of five people it may also be asked whether the two are who share the value.
  asked = 2 if form == "exactly" and count == 5 and _below(random, 2) else most
  frequent, rare = (v, w) if yes == (asked == most) else (w, v)
  people = [fresh["people"].pop() for _ in range(count)]
  facts = [
    _value_fact(random, kind, topic, person, frequent if place < most else rare)
    for place, person in enumerate(people)
  ]
  by_number, by_comparison = words.TALLY_QUESTIONS[kind]
  question = _say(
    random,
    by_comparison if form == "more" else by_number,
    v=v,
    w=w,
    av=_article(v),
    aw=_article(w),
    o=topic,
    q=f"{form} {_number(asked)}",
  )
  return _Scene(question, facts, people, topic, closed=True)


_TYPES = {
  "attribute": _attribute,
  "place": _place,
  "comparison": _comparison,
  "chain": _chain,
  "more": _more,
  "threshold": _threshold,
  "tally": _tally,
}


_TOPICS = {
  **{kind: list(topics) for kind, topics in words.VALUES.items()},
  **{topic: [topic] for topic in words.MEASURES},
  "count": list(words.COUNTED),
  "relation": list(words.RELATIONS),
}


def _distractor(random: Random, fresh: dict, scene: _Scene, said: set) -> str | None:
  """A fact without bearing on the question; None where the draw would have a bearing."""
  topic = scene.topic
  if not scene.closed and _below(random, 5) < 2:  # the same about somebody else
    kind = _pick(random, [kind for kind, topics in _TOPICS.items() if topic in topics])
  else:
    kind = _pick(random, list(_TOPICS))
    topic = _pick(random, _TOPICS[kind])
  if kind == "relation":
    return _relation_fact(random, topic, *_two(fresh[words.RELATIONS[topic][0]]))
  pool = words.MEASURES[kind][0] if kind in words.MEASURES else "people"
  pool = "things" if kind == "room" else pool
  known = [name for name in scene.about if pool == "people" and name in words.PEOPLE]
  subject = _pick(random, known) if known and _below(random, 2) else fresh[pool].pop()
  if (subject, topic) in said or (scene.closed and topic == scene.topic):
    return None
  said.add((subject, topic))
  if kind == "count":
    return _say(random, words.COUNT_FACTS, a=subject, o=topic, v=_number(3 + _below(random, 38)))
  if kind in words.MEASURES:
    _, low, high, _, _, templates = words.MEASURES[kind]
    return _say(random, templates, a=subject, v=low + _below(random, high - low + 1))
  return _value_fact(random, kind, topic, subject, _pick(random, words.VALUES[kind][topic]))


def _value_fact(random: Random, kind: str, topic: str, name: str, value: str) -> str:
  """Says that somebody or something has a value."""
  return _say(random, words.VALUE_FACTS[kind], a=name, o=topic, v=value, av=_article(value))


def _relation_fact(random: Random, topic: str, large: str, small: str) -> str:
  """Says that one is larger than another, from either side."""
  _, pair, plain = words.RELATIONS[topic]
  less = _below(random, 2)
  a, b = (small, large) if less else (large, small)
  return _say(random, words.RELATION_FACTS, a=a, b=b, m=pair[less], plain=plain[less])


def _two_counts(random: Random, topic: str, large: str, small: str) -> tuple[list[str], int, int]:
  """Says how many of something two people have; also the smaller and the larger number."""
  few = 3 + _below(random, 20)
  many = few + 2 + _below(random, 18)
  facts = [
    _say(random, words.COUNT_FACTS, a=name, o=topic, v=_number(count))
    for name, count in ((large, many), (small, few))
  ]
  return facts, few, many


def _say(random: Random, templates: Sequence[str], **parts: object) -> str:
  """Fills in one of the templates; the sentence begins with a capital."""
  text = _pick(random, templates).format(**parts, os=f"{parts.get('o')}s")
  return text[0].upper() + text[1:]


def _article(noun: str) -> str:
  """Puts the indefinite article before a word."""
  return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _number(value: int) -> str:
  """Writes numbers up to ten as words."""
  return _SMALL[value] if value < len(_SMALL) else str(value)


def _two(pool: list[str]) -> tuple[str, str]:
  """Takes two members that nobody else will be."""
  return pool.pop(), pool.pop()
