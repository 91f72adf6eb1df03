"""Fields that the recipes' configurations share, each declared once.

A recipe's `Config` inherits the groups that it needs. Python lists the fields of the last base
first, so `class Config(RunFields, TrainingFields, ..., WorldFields)` begins with the world's. A
recipe that needs another default declares the field again; it keeps its place.
"""

import dataclasses

from mezzanine_jax.allowed import (
    CHOICE_NORMS,
    DTYPES,
    FEATURES_DTYPES,
    ORBITS,
    POOLS,
    SOLVERS,
    UNITS,
)
from mezzanine_jax.config import check, option
from mezzanine_jax.designs import DESIGNS
from mezzanine_jax.symmetries import SYMMETRIES
from mezzanine_jax.worlds import WORLDS

_OWN = "(none: the world's own)"


@dataclasses.dataclass(frozen=True)
class _Checked:
  """A configuration that is checked when it is made."""

  def __post_init__(self):
    check(self)


@dataclasses.dataclass(frozen=True)
class WorldFields(_Checked):
  """Where the examples come from; None leaves a field to the world."""

  world: str = option(
      "hf_qa", f"where examples come from: {', '.join(WORLDS)}, or one that a package adds")
  dataset: str | None = option(
      None, "preset, hub id, local folder or file (jsonl, csv, parquet, zip); none: the world's own"
      " (hf_qa: boolq)")
  preset: str | None = option(None, "fields and prompt of a known dataset (none: by its name)")
  question_field: str | None = option(None, f"field with the question {_OWN}")
  passage_field: str | None = option(None, f"field with the passage {_OWN}")
  answer_field: str | None = option(None, f"field with the answer {_OWN}")
  text_field: str | None = option(None, f"hf_text: field with the text {_OWN}")
  label_field: str | None = option(None, f"hf_text, images: field with the label {_OWN}")
  image_field: str | None = option(None, f"images: field with the image {_OWN}")
  image_size: int | None = option(
      None, "images: pixels that every image is given a side (none: its own)", at_least=1)
  options_field: str | None = option(
      None, f"multiple_choice: field with the options, or several with commas {_OWN}")
  options: str | None = option(
      None, "multiple_choice: the options of every question, split at |, where no field has them")
  answer_form: str | None = option(
      None, "multiple_choice: how answers are written (none: found out)",
      one_of=("auto", "label", "index", "number", "text"))
  num_options: int | None = option(
      None, "multiple_choice: options a question (none: the usual number)", at_least=2)
  label_map: str | None = option(None, "answers in the order of the choices, such as 'no,yes'")
  extra_fields: str | None = option(None, "more fields for the template, such as 'title,facts'")
  train_split: str | None = option(None, "split to learn from (none: train)")
  test_split: str | None = option(None, "split to be judged by (none: validation, test or dev)")
  subset: str | None = option(None, "configuration of a hub dataset that has several")
  n_train: int = option(2048, "training examples", at_least=2)
  n_test: int = option(512, "test examples", at_least=1)
  seed: int = option(0, "the one seed: examples, views, training", at_least=0, at_most=2**32 - 1)


@dataclasses.dataclass(frozen=True)
class LmFields(_Checked):
  """A causal language model, and how it is asked."""

  lm_name: str = option("gpt2", "hub id, local folder, .gguf file, or pkg:NAME")
  dtype: str = option("float32", "of weights and matrix products", one_of=DTYPES)
  template: str | None = option(
      None, "prompt with {field}s and a cue at its end, or a .json or .txt file of several (none:"
      " the world's own, or one for passages and questions)")
  choices: str | None = option(
      None, "answers, split at |; choice c is label c (none: the world's own, or ' no| yes')")
  choice_norm: str = option("none", "what divides a choice's log-prob", one_of=CHOICE_NORMS)
  max_length: int | None = option(1024, "most tokens of a prompt (none: the model's)", at_least=8)
  unit: str = option("sentence", "what the evidence is split into", one_of=UNITS)
  paraphrases: str | None = option(None, "list field with paraphrases of the evidence")
  shots: int = option(0, "worked examples in each prompt, from the training part", at_least=0)
  chat: bool = option(False, "ask through the model's own chat template")


@dataclasses.dataclass(frozen=True)
class EncoderFields(_Checked):
  """A frozen model whose hidden states are a text's features."""

  model_name: str = option(
      "distilbert-base-uncased", "encoder or causal language model: hub id, local folder, .gguf"
      " file, or pkg:NAME")
  dtype: str = option("float32", "of weights and matrix products", one_of=DTYPES)
  pool: str = option("cls", "how hidden states are pooled over the text", one_of=POOLS)
  layer: int = option(-1, "hidden states taken: 0 embeddings, -1 after the last block")
  max_length: int | None = option(512, "most tokens of a text (none: the model's)", at_least=8)
  unit: str = option("sentence", "what the text is split into", one_of=UNITS)
  features_dtype: str = option(
      "float32", "of the features that are kept", one_of=FEATURES_DTYPES)


@dataclasses.dataclass(frozen=True)
class SymmetryFields(_Checked):
  """Families of views, and how many are drawn."""

  symmetry: str = option(
      "segment_order", f"families of views, chained with commas: {', '.join(SYMMETRIES)}")
  keep_first: int = option(0, "segment_order: first units that stay in place", at_least=0)
  keep_last: int = option(0, "segment_order: last units that stay in place", at_least=0)
  orbit: str = option("full", "option_order: all orders, or the rotations only", one_of=ORBITS)
  k_test: int = option(16, "views of a test example", at_least=3)
  design: str = option(
      "auto", "views of an orbit too large for K: none (exact), independent (iid), without repeats"
      " (distinct), balanced for training examples and distinct for test ones (balanced; auto,"
      " where the symmetry has it)", one_of=DESIGNS)
  n_examples: int = option(
      24, "test examples that move most, kept with their views for the report", at_least=0)


@dataclasses.dataclass(frozen=True)
class ViewFields(_Checked):
  """The ranges that views of images are drawn from; 0 leaves a part out."""

  crop: float = option(
      0.1, "view: the most of each side that is cut off", at_least=0.0, at_most=0.9)
  flip: float = option(
      0.0, "view: how often it is mirrored; 0.5 where that keeps the label, as of photographs",
      at_least=0.0, at_most=1.0)
  rotation: float = option(
      10.0, "view: the largest angle, degrees", at_least=0.0, at_most=180.0)
  brightness: float = option(
      0.1, "view: the largest change, as a share", at_least=0.0, at_most=1.0)


@dataclasses.dataclass(frozen=True)
class TrainingFields(_Checked):
  """How a student is trained."""

  k_train: int = option(8, "views of a training example", at_least=1)
  steps: int = option(800, "optimizer steps", at_least=1)
  batch_size: int = option(256, "views a step", at_least=1)
  learning_rate: float = option(1e-3, "highest learning rate", at_least=1e-9)
  weight_decay: float = option(1e-2, "of the weights", at_least=0.0)
  hard_label_weight: float = option(
      0.0, "share of the labels' cross-entropy in the loss", at_least=0.0, at_most=1.0)
  temperature: float = option(
      1.0, "of the teacher and the student in the loss, see objectives.py", at_least=1e-3)
  consistency_weight: float = option(
      0.0, "of how far two views of one example are apart, in the loss", at_least=0.0)
  valid_fraction: float = option(
      0.2, "share of the training clusters that chooses the step", at_least=0.01, at_most=0.9)
  eval_every: int = option(50, "steps between two looks at the validation part", at_least=1)


@dataclasses.dataclass(frozen=True)
class ExtraFields(_Checked):
  """More examples to learn from, which need no labels."""

  extra_questions: int = option(
      0, "questions of other training examples asked about each one's evidence, too, to learn from"
      " only", at_least=0)
  k_extra: int = option(2, "views of each of these", at_least=1)


@dataclasses.dataclass(frozen=True)
class AdapterFields(_Checked):
  """Low-rank adapters in the language model, the students `lora` and `set`."""

  lora_rank: int = option(8, "lora, set: rank of the adapters", at_least=1)
  lora_alpha: float = option(16.0, "lora, set: their scale, alpha / rank", at_least=1e-6)
  lora_targets: str = option(
      "q,k,v,out", "lora, set: matrices of every layer that have one, also gate, up, down")
  lora_solver: str = option(
      "adamw", "lora, set: adamw, in lora_steps steps; or tangent, a ridge regression on the"
      " derivatives of each example's canonical row, at once, with a scale and a shift of the"
      " answer", one_of=SOLVERS)
  lora_steps: int = option(300, "lora, set: steps of adamw; 0 for none", at_least=0)
  lora_learning_rate: float = option(5e-4, "lora, set: highest learning rate", at_least=1e-9)
  lora_batch_tokens: int = option(2560, "lora, set: tokens a step, about", at_least=1)
  lora_dtype: str | None = option(
      None, "lora, set: of the matrix products of training; bfloat16 is faster on processors that"
      " multiply it (none: as the model's)", one_of=DTYPES)
  lora_eval_every: int = option(
      50, "lora, set: steps between two looks at the validation part", at_least=1)
  lora_valid: int = option(120, "lora, set: most validation examples looked at", at_least=1)
  set_orders: int = option(
      4, "what reads a set: orders of the sentences that attention is averaged over; 1 is the model"
      " on sorted sentences", at_least=1)
  lora_from: str | None = option(
      None, "heads that read sets: folder of a finished run of the student set on the same"
      " examples, whose adapters the model reads them with (none: as it is)")
  lora_control: bool = option(
      False, "lora, set: train adapters on shuffled targets, too, which takes as long again")


@dataclasses.dataclass(frozen=True)
class FolderFields(_Checked):
  """Where figures and rows go, too; it may differ when a run is continued."""

  log_to: str | None = option(
      None, "where figures are logged, too, as they come: tensorboard, wandb, or both with a comma"
      " (none: nowhere)", runtime=True)
  cache_dir: str | None = option(
      None, "folder of rows that runs share, see `mezzanine cache` (none: each has its own)",
      runtime=True)


@dataclasses.dataclass(frozen=True)
class RunFields(FolderFields):
  """What changes no figure; it may differ when a run is continued."""

  batch_tokens: int = option(3072, "tokens of a batch of prompts", at_least=1, runtime=True)
  max_shapes: int = option(8, "most batch shapes compiled", at_least=1, runtime=True)
  mesh: str = option(
      "data=-1,model=1", "devices of this process: rows over data, the model over model; -1 for"
      " all that are left", runtime=True)
  fully_sharded: bool = option(
      False, "divide the model over data, too, where it does not fit otherwise", runtime=True)
