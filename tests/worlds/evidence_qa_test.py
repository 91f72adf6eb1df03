"""The generated world: right answers, no order, no give-aways, and the same for ever."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.sentences import split_sentences
from mezzanine_jax.worlds import WORLDS, evidence_qa

WORDS = "zero one two three four five six seven eight nine ten".split()
NAME = r"((?:the [a-z ]+?)|[A-Z][a-z]+)"  # a thing, a building or a person
NUMBER = rf"(\d+|{'|'.join(WORDS)})"
# Comparative -> what is compared, and which end of it.
AXES = {
  "older": ("age", 1), "younger": ("age", -1), "newer": ("age", -1),
  "taller": ("height", 1), "shorter": ("height", -1),
  "faster": ("speed", 1), "slower": ("speed", -1),
  "stronger": ("strength", 1), "weaker": ("strength", -1),
  "larger": ("size", 1), "smaller": ("size", -1),
  "heavier": ("weight", 1), "lighter": ("weight", -1),
  "more expensive": ("price", 1), "cheaper": ("price", -1),
  "later": ("opening", 1), "earlier": ("opening", -1),
}  # fmt: skip
PLAIN = {
  "old": "older", "young": "younger", "new": "newer", "tall": "taller", "short": "shorter",
  "fast": "faster", "slow": "slower", "strong": "stronger", "weak": "weaker", "large": "larger",
  "small": "smaller", "heavy": "heavier", "light": "lighter", "expensive": "more expensive",
  "cheap": "cheaper",
}  # fmt: skip
LIKED = "drink|sport|season|school subject|instrument|fruit"
MORE = f"({'|'.join(AXES)})"

# Sentence -> fact, written from the English alone.
VALUES = [  # groups: who, [topic], value
  (rf"{NAME}'s home is in (.+)", "city"),
  (rf"the city where {NAME} lives is (.+)", "city"),
  (rf"(.+) is the city where {NAME} lives", "city reversed"),
  (rf"{NAME} has been living in (.+) for years", "city"),
  (rf"{NAME} lives in (.+)", "city"),
  (rf"{NAME} is a resident of (.+)", "city"),
  (rf"{NAME} (?:works|earns a living|has a full-time job) as an? (.+)", "job"),
  (rf"{NAME} is an? (.+) by profession", "job"),
  (rf"the job that {NAME} does is that of an? (.+)", "job"),
  (rf"{NAME} is kept in the (.+)", "room"),
  (rf"the place for {NAME} is the (.+)", "room"),
  (rf"anyone who needs {NAME} will find it in the (.+)", "room"),
  (rf"the (.+) is where {NAME} is kept", "room reversed"),
  (rf"somebody has put {NAME} in the (.+)", "room"),
  (rf"{NAME} is in the (.+)", "room"),
]
TOPICS = [  # named groups: a who, o topic, v value
  r"(?P<v>.+) is (?P<a>[A-Z]\w+)'s favourite (?P<o>.+)",
  r"(?P<a>[A-Z]\w+)'s favourite (?P<o>.+) is (?P<v>.+)",
  r"the favourite (?P<o>.+) of (?P<a>[A-Z]\w+) is (?P<v>.+)",
  r"of all (?P<o>.+)s, (?P<a>[A-Z]\w+) likes (?P<v>.+) best",
  r"when asked about a favourite (?P<o>.+), (?P<a>[A-Z]\w+) always names (?P<v>.+)",
  r"(?P<a>[A-Z]\w+) prefers (?P<v>.+) to every other (?P<o>.+)",
  r"the colour of (?P<a>[A-Z]\w+)'s (?P<o>.+) is (?P<v>\w+)",
  r"the only (?P<o>.+) (?P<a>[A-Z]\w+) owns is (?P<v>\w+)",
  r"the (?P<o>.+) that belongs to (?P<a>[A-Z]\w+) is (?P<v>\w+)",
  r"(?P<a>[A-Z]\w+) has just one (?P<o>.+), which is (?P<v>\w+)",
  r"(?P<a>[A-Z]\w+) owns a single (?P<o>.+), and the (?P=o) is (?P<v>\w+)",
  r"(?P<a>[A-Z]\w+)'s (?!age|height|home|collection)(?P<o>[a-z ]+) is (?P<v>[a-z]+)",
]
NUMBERS = [
  (rf"{NAME} is {NUMBER} years old", "age"),
  (rf"{NAME}'s age is {NUMBER}", "age"),
  (rf"{NAME} has reached the age of {NUMBER}", "age"),
  (rf"the age of {NAME} is {NUMBER} years", "age"),
  (rf"{NAME} turned {NUMBER} this year", "age"),
  (rf"{NAME}(?: is|'s height is) {NUMBER} centimetres(?: tall)?", "height"),
  (rf"from head to toe, {NAME} measures {NUMBER} centimetres", "height"),
  (rf"the doctor wrote down a height of {NUMBER} centimetres for {NAME}", "height reversed"),
  (rf"{NAME} costs {NUMBER} euros", "price"),
  (rf"the price of {NAME} is {NUMBER} euros", "price"),
  (rf"the shop sells {NAME} for {NUMBER} euros", "price"),
  (rf"whoever wants {NAME} has to pay {NUMBER} euros", "price"),
  (rf"{NAME} (?:first )?opened (?:to the public )?in {NUMBER}", "opening"),
  (rf"{NAME} has been open since {NUMBER}", "opening"),
  (rf"the year when {NAME} opened was {NUMBER}", "opening"),
]
COUNTS = [
  rf"(?P<a>[A-Z]\w+) (?:has|owns|has collected) (?P<v>{NUMBER}) (?P<o>.+)",
  rf"there are (?P<v>{NUMBER}) (?P<o>.+) in (?P<a>[A-Z]\w+)'s collection",
  rf"the number of (?P<o>.+) that (?P<a>[A-Z]\w+) owns is (?P<v>{NUMBER})",
  rf"(?P<a>[A-Z]\w+)'s collection holds (?P<v>{NUMBER}) (?P<o>.+)",
]
RELATIONS = [  # groups: larger or smaller one, comparative, other one
  (rf"{NAME} is (?:clearly )?{MORE} than {NAME}", (0, 1, 2)),
  (rf"everybody knows that {NAME} is {MORE} than {NAME}", (0, 1, 2)),
  (rf"compared with {NAME}, {NAME} is {MORE}", (1, 2, 0)),
  (rf"{NAME} is not as ({'|'.join(PLAIN)}) as {NAME}", (2, 1, 0)),
]


def low(text):
  """A sentence without its stop; a capital that is no name's is made small."""
  small = (
    "The Of When From Whoever Anyone Somebody Everybody Compared There Is Does Are Do Did Would Has"
  ).split()
  starts_small = re.match(r"\w+", text)[0] in small
  return (text[0].lower() + text[1:] if starts_small else text).rstrip(".?")


def number(text):
  """A number in digits or as a word."""
  return WORDS.index(text) if text in WORDS else int(text)


def parse(sentence):
  """One fact of a sentence: (topic, who, value), (topic, who, number) or (axis, greater, less)."""
  text = low(sentence)
  for pattern, order in RELATIONS:
    if match := re.fullmatch(pattern, text):
      a, more, b = (match.groups()[place] for place in order)
      axis, sign = AXES[PLAIN.get(more, more)]
      return ("greater", axis, a, b) if sign > 0 else ("greater", axis, b, a)
  if match := re.fullmatch(rf"of {NAME} and {NAME}, {NAME} is the {MORE} one", text):
    one, two, winner, more = match.groups()
    assert winner in (one, two) and one != two
    axis, sign = AXES[more]
    other = two if winner == one else one
    return ("greater", axis, winner, other) if sign > 0 else ("greater", axis, other, winner)
  for pattern, topic in NUMBERS:
    if match := re.fullmatch(pattern, text):
      who, value = match.groups()[:: -1 if "reversed" in topic else 1]
      return ("number", topic.split()[0], who, number(value))
  for pattern in COUNTS:
    if match := re.fullmatch(pattern, text):
      return ("number", match["o"], match["a"], number(match["v"]))
  for pattern in TOPICS:
    if match := re.fullmatch(pattern, text):
      return ("value", match["o"], match["a"], match["v"].lower())
  for pattern, topic in VALUES:
    if match := re.fullmatch(pattern, text):
      who, value = match.groups()[:: -1 if "reversed" in topic else 1]
      return ("value", topic.split()[0], who, value.lower())
  raise AssertionError(f"no fact in {sentence!r}")


def is_more(facts, axis, a, b):
  """Whether a is greater than b, by numbers or by a chain of comparisons; None if unsaid."""
  numbers = {who: value for kind, topic, who, value in facts if (kind, topic) == ("number", axis)}
  if a in numbers and b in numbers:
    return numbers[a] > numbers[b]
  below = {(x, y) for kind, topic, x, y in facts if (kind, topic) == ("greater", axis)}
  while wider := {(x, z) for x, y in below for w, z in below if y == w} - below:
    below |= wider
  assert not {(y, x) for x, y in below} & below, "the facts contradict one another"
  return True if (a, b) in below else False if (b, a) in below else None


def lookup(facts, kind, topic, who):
  """The one value that the passage gives."""
  (value,) = [fact[3] for fact in facts if fact[:3] == (kind, topic, who)]
  return value


def answer(passage, question):
  """Answers a question from the facts of a passage, in whatever order they stand."""
  facts = [parse(sentence) for sentence in split_sentences(passage)]
  text = low(question)
  for pattern, order in (
    (rf"is it true that {NAME} opened {MORE} than {NAME}", (0, 1, 2)),
    (rf"is {NAME} {MORE} than {NAME}", (0, 1, 2)),
    (rf"is it true that {NAME} is {MORE} than {NAME}", (0, 1, 2)),
    (rf"compared with {NAME}, is {NAME} {MORE}", (1, 2, 0)),
    (rf"of {NAME} and {NAME}, is {NAME} the {MORE} one", (0, 3, 1)),
    (rf"did {NAME} open {MORE} than {NAME}", (0, 1, 2)),
    (rf"compared with {NAME}, did {NAME} open {MORE}", (1, 2, 0)),
  ):
    if match := re.fullmatch(pattern, text):
      a, more, b = (match.groups()[place] for place in order)
      assert a != b
      axis, sign = AXES[more]
      more = is_more(facts, axis, a, b)
      assert more is not None, "the facts do not decide the question"
      return more == (sign > 0)
  for pattern in (
    r"does (?P<a>\w+) (?:have|own) (?P<m>more|fewer) (?P<o>.+) than (?P<b>[A-Z]\w+)",
    r"are there (?P<m>more|fewer) (?P<o>.+) in (?P<a>\w+)'s collection than in (?P<b>\w+)'s",
    r"compared with (?P<b>\w+), does (?P<a>\w+) have (?P<m>more|fewer) (?P<o>.+)",
  ):
    if match := re.fullmatch(pattern, text):
      a, b = (lookup(facts, "number", match["o"], match[who]) for who in "ab")
      return a > b if match["m"] == "more" else a < b
  quantity = rf"(?P<form>at least|at most|more than|fewer than|exactly) (?P<n>{NUMBER})"
  for pattern in (
    rf"does (?P<a>\w+) (?:have|own) {quantity} (?P<o>.+)",
    rf"are there {quantity} (?P<o>.+) in (?P<a>\w+)'s collection",
    rf"has (?P<a>\w+) collected {quantity} (?P<o>.+)",
  ):
    if match := re.fullmatch(pattern, text):
      return holds(lookup(facts, "number", match["o"], match["a"]), match)
  for pattern in (
    rf"is (?P<v>.+) the favourite .+ of {quantity} people",
    rf"do {quantity} people like (?P<v>.+) best of all .+s",
    rf"do {quantity} (?:of the people mentioned|people) work as an? (?P<v>.+)",
    rf"do {quantity} (?:of the people mentioned|people) live in (?P<v>.+)",
  ):
    if match := re.fullmatch(pattern, text):
      return holds(sum(fact[3] == match["v"].lower() for fact in facts), match)
  for pattern in (
    r"is (?P<v>.+) the favourite .+ of more people than (?P<w>.+)",
    r"do more people choose (?P<v>.+) than (?P<w>.+) as a favourite .+",
    r"do more people work as an? (?P<v>.+) than as an? (?P<w>.+)",
    r"do more people live in (?P<v>.+) than in (?P<w>.+)",
    r"are there more people who live in (?P<v>.+) than people who live in (?P<w>.+)",
    r"are there more people who work as an? (?P<v>.+) than people who work as an? (?P<w>.+)",
  ):
    if match := re.fullmatch(pattern, text):
      tally = Counter(fact[3] for fact in facts)
      return tally[match["v"].lower()] > tally[match["w"].lower()]
  for pattern, topic in (
    (r"(?:does|is) (?P<a>\w+?)(?: live|'s home) in (?P<v>.+)", "city"),
    (r"is (?P<v>.+) the city where (?P<a>\w+) lives", "city"),
    (r"is (?P<a>\w+) a resident of (?P<v>.+)", "city"),
    (r"(?:does|is) (?P<a>\w+?)(?: work as|'s job that of) an? (?P<v>.+)", "job"),
    (r"is (?P<a>\w+) an? (?P<v>.+?)(?: by profession)?", "job"),
    (r"is the (?P<v>.+) where (?P<a>.+) is kept", "room"),
    (r"would someone looking for (?P<a>.+) find it in the (?P<v>.+)", "room"),
    (r"is (?P<a>the .+?) (?:kept )?in the (?P<v>.+)", "room"),
    (r"is (?P<v>.+) (?P<a>\w+)'s favourite (?P<o>.+)", None),
    (rf"is (?P<a>\w+)'s favourite (?P<o>{LIKED}) (?P<v>.+)", None),
    (r"does (?P<a>\w+) like (?P<v>.+) best of all (?P<o>.+)s", None),
    (r"is (?P<v>.+) the (?P<o>.+) that (?P<a>\w+) likes best", None),
    (r"is (?P<v>\w+) the colour of (?P<a>\w+)'s (?P<o>.+)", None),
    (r"is the (?P<o>.+) that belongs to (?P<a>\w+) (?P<v>\w+)", None),
    (r"does (?P<a>\w+) own an? (?P<v>\w+) (?P<o>.+)", None),
    (r"is (?P<a>\w+)'s (?P<o>.+) (?P<v>\w+)", None),
  ):
    if match := re.fullmatch(pattern, text):
      where = topic or match["o"]
      return lookup(facts, "value", where, match["a"]) == match["v"].lower()
  raise AssertionError(f"no question in {question!r}")


def holds(count, match):
  """Whether a count is the quantity asked for."""
  limit = number(match["n"])
  return {
    "at least": count >= limit, "at most": count <= limit, "more than": count > limit,
    "fewer than": count < limit, "exactly": count == limit,
  }[match["form"]]  # fmt: skip


def kind(example):
  """The type of a question, which is the last part of the example's id."""
  return example.id.split("/")[-1]


@pytest.fixture(scope="module")
def world():
  return evidence_qa.load(n_train=1400, n_test=1001, seed=7)


def test_answers_follow_from_the_facts_in_any_order(world):
  """An independent reader of the English comes to the same answers, sentences shuffled."""
  shuffle = random.Random(0)
  for example in world.test[:700]:
    sentences = split_sentences(example.x["passage"])
    for _ in range(3):
      assert answer(" ".join(sentences), example.x["question"]) == bool(example.label), example
      shuffle.shuffle(sentences)


def test_the_reader_can_disagree():
  """The check above is one that can fail."""
  facts = "Nora is older than Hugo. Hugo is older than Mei."
  assert answer(facts, "Is Mei younger than Nora?") is True
  assert answer(facts, "Is Mei older than Nora?") is False
  with pytest.raises(AssertionError, match="no fact"):
    answer("Then she left.", "Is Mei older than Nora?")


def test_no_fact_is_said_twice_or_contradicted(world):
  """Nobody has two values of one topic, and sentences survive the splitter one to one."""
  for example in world.train:
    sentences = split_sentences(example.x["passage"])
    assert 4 <= len(sentences) <= 7
    assert len(sentences) == example.x["passage"].count(".")
    facts = [parse(sentence) for sentence in sentences]
    values = [fact[1:3] for fact in facts if fact[0] != "greater"]
    assert len(set(values)) == len(values), example
    pairs = [frozenset(fact[2:]) for fact in facts if fact[0] == "greater"]
    assert len(set(pairs)) == len(pairs), example


def test_no_sentence_points_to_another(world):
  """No pronoun, connective or ordinal that would tie a sentence to its place."""
  tied = re.compile(
    r"\b(he|she|him|her|his|hers|they|them|their|this one|then|also|too|however|so|but|next|first"
    r" of|second|finally|both|former|latter|another|other one|same)\b", re.IGNORECASE,
  )  # fmt: skip
  for example in world.train:
    assert not tied.search(example.x["passage"]), example.x["passage"]


def test_balance(world):
  """Half of the answers are yes: in each part, for each type, and in every beginning of it."""
  for examples in (world.train, world.test, world.test[:37], world.train[:1]):
    groups = {"all": examples}
    for example in examples:
      groups.setdefault(kind(example), []).append(example)
    for group in groups.values():
      yes = sum(example.label for example in group)
      assert abs(2 * yes - len(group)) <= 1
  assert len({kind(example) for example in world.train}) == 7


def accuracy_of_words(train, test, text):
  """Accuracy of a ridge classifier on bags of words, for labels of -1 and 1."""

  def tokens(example):
    return re.findall(r"\w+", text(example[0]).lower())

  vocabulary = {word: place for place, word in enumerate(
    sorted({word for example in train for word in tokens(example)})
  )}  # fmt: skip

  def bags(examples):
    counts = np.zeros((len(examples), len(vocabulary) + 1))
    counts[:, -1] = 1
    for row, example in enumerate(examples):
      for word in tokens(example):
        if word in vocabulary:
          counts[row, vocabulary[word]] = 1
    return counts, np.array([label for _, label in examples])

  x, y = bags(train)
  weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
  x, y = bags(test)
  return float(np.mean((x @ weights > 0) == (y > 0)))


def test_words_do_not_tell_the_answer(world):
  """From the words of the question (or of the passage) the answer is a coin's throw."""
  train, test = ([(e.x, 2 * e.label - 1) for e in part] for part in (world.train, world.test))
  assert abs(accuracy_of_words(train, test, lambda x: x["question"]) - 0.5) < 0.05
  assert abs(accuracy_of_words(train, test, lambda x: x["passage"]) - 0.5) < 0.05
  # The same classifier finds what the words do tell.
  about = [[(x, 1 if "than" in x["question"] else -1) for x, _ in part] for part in (train, test)]
  assert accuracy_of_words(*about, lambda x: x["question"]) > 0.95


def test_parts_are_disjoint_and_names_unique(world):
  """No passage stands twice, not even in another order; every passage is its own cluster."""
  both = world.train + world.test
  passages = {frozenset(split_sentences(example.x["passage"])) for example in both}
  assert len(passages) == len(both)
  assert len({example.id for example in both}) == len(both)
  assert len({example.cluster for example in both}) == len(both)


def test_variety(world):
  """Tens of names and hundreds of questions."""
  text = " ".join(example.x["passage"] for example in world.train)
  assert len(set(re.findall(r"\b[A-Z][a-z]+\b", text))) > 60
  assert len({example.x["question"] for example in world.train}) > 1300


def test_fewer_are_the_beginning_of_more_and_seeds_differ(world):
  """The examples depend on the seed, the part and the position only."""
  small = evidence_qa.load(n_train=3, n_test=20, seed=7)
  assert small.train == world.train[:3]
  assert small.test == world.test[:20]
  other = evidence_qa.load(n_train=20, n_test=20, seed=8)
  assert not {e.x["passage"] for e in other.train} & {e.x["passage"] for e in world.train}


def test_the_world_is_fixed_for_ever():
  """A change of these digests is another version of the world."""
  world = WORLDS["evidence_qa"]("evidence_qa", n_train=100, n_test=100, seed=0)
  assert evidence_qa.VERSION == 1
  assert world.digests == {
    "train": "d4ee705260ed31a97e82a07e22776536077c5f661c72a6150f331e1f19b567ae",
    "test": "05452ab1f8410ae469542c0756b10b99a33d0c0559874d74f73de71bfe281b0b",
  }
  assert world.num_labels == 2
  assert world.notes["train"]["used"] == world.notes["train"]["asked"] == 100


@pytest.mark.parametrize(
  "change, message",
  [
    ({"n_train": 0}, "n_train must be a whole number >= 1, got 0"),
    ({"n_test": 2.5}, "n_test must be a whole number >= 1, got 2.5"),
    ({"seed": "x"}, "seed must be a whole number, got 'x'"),
    ({"dataset": "boolq"}, "dataset must be 'evidence_qa', got 'boolq'"),
  ],
)
def test_bad_input(change, message):
  """One sentence says what was given and what is allowed."""
  with pytest.raises(InputError, match=message):
    evidence_qa.load(**{"n_train": 1, "n_test": 1, "seed": 0} | change)
