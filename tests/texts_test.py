"""Examples as texts: wordings, demonstrations, answers."""

import pytest

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import DEMONSTRATIONS
from mezzanine_jax.texts import write

TRAIN = [
    Example(f"t{n}", {"passage": f"Fact {n}. More.", "question": f"q{n}"}, n % 2, f"c{n // 2}")
    for n in range(12)
] + [Example("unknown", {"passage": "None.", "question": "u"}, None, "other")]
TEMPLATE = "P: {passage}\nQ: {question}\nA:"


def _write(examples=TRAIN, template=TEMPLATE, choices=(" no", " yes"), **more):
  return write(examples, template=template, evidence="passage", choices=choices, **more)


def _join(text):
  return "".join(p.text for p in text.pieces)


def test_demonstrations_are_never_of_the_examples_own_cluster():
  written = _write(shots=3, demonstrations=TRAIN)
  label_of = {e.x["question"]: e.label for e in TRAIN}
  cluster_of = {e.x["question"]: e.cluster for e in TRAIN}
  firsts = set()
  for example, [text] in zip(TRAIN, written.texts, strict=True):
    *shots, own = _join(text).split("\n\n")
    assert own == f"P: {example.x['passage']}\nQ: {example.x['question']}\nA:"
    assert sum(p.group == DEMONSTRATIONS for p in text.pieces) == len(shots) == 3
    asked = [shot.split("\nQ: ")[1].split("\n")[0] for shot in shots]
    clusters = [cluster_of[q] for q in asked]
    assert example.cluster not in clusters and len(set(clusters)) == 3
    for question, shot in zip(asked, shots, strict=True):
      assert shot.endswith((" no", " yes")[label_of[question]])
    firsts.add(shots[0])
  assert len(firsts) == 2  # all see the same ones, but for those whose cluster is among them


def test_demonstrations_follow_the_seed_only():
  one, same, other = (
      _write(TRAIN[:1], shots=4, demonstrations=d, seed=s).texts
      for d, s in ((TRAIN, 0), (TRAIN[::-1], 0), (TRAIN, 1)))
  assert one == same != other


def test_wordings_are_templates_times_paraphrases():
  example = Example("a", {"passage": "One. Two.", "question": "q",
                          "others": ["Due. Uno.", "Drei."]}, 0, "a")
  written = _write([example], [TEMPLATE, {"template": "{question}? {passage} So:", "weight": 3,
                                          "choices": [" false", " true"]}], paraphrases="others")
  [texts], [weights] = written
  assert [_join(t) for t in texts] == [
      "P: One. Two.\nQ: q\nA:", "P: Due. Uno.\nQ: q\nA:", "P: Drei.\nQ: q\nA:",
      "q? One. Two. So:", "q? Due. Uno. So:", "q? Drei. So:"]
  assert [t.choices[0] for t in texts] == [" no"] * 3 + [" false"] * 3
  assert [t.cue for t in texts] == ["\nA:"] * 3 + [" So:"] * 3
  assert weights == [1 / 3] * 3 + [1.0] * 3


def test_labels_are_the_choices_of_options():
  example = Example("a", {"question": "q", "options": ["x", "y", "z"]}, 0, "a")
  written = _write([example], "{question}\n{options}\nA:", None)
  assert written.texts[0][0].choices == [" A", " B", " C"] and written.weights is None
  with pytest.raises(InputError, match="'a' has 3 options, but there are 2 choices"):
    _write([example], "{question}\n{options}\nA:")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"template": "{question}\nA:"}, "holds nothing that can move"),
        ({"shots": -1}, "shots must be >= 0"),
        ({"shots": 9, "demonstrations": TRAIN}, "9 demonstrations were asked for"),
        ({"paraphrases": "others"}, "no field 'others' with paraphrases"),
        ({"paraphrases": "question"}, "must be a list of paraphrases"),
        ({"paraphrases": "question", "template": "{question}\nA:"}, "in every template"),
        ({"template": [TEMPLATE, {"template": TEMPLATE, "choices": [" a", " b", " c"]}]},
         "must have 2 choices"),
        ({"choices": None}, "choices must be given"),
    ],
)
def test_what_cannot_be_written_is_refused(more, message):
  with pytest.raises(InputError, match=message):
    _write(**more)
