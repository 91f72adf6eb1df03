"""Tiny tokenizers, prompts and inputs that more than one test file uses."""

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from mezzanine_jax.prompts import make_prompt

TEXT = [
    "Passage: Anna owns a red bicycle. Tom lives in Oslo. The oak tree is 12 metres tall.",
    "Question: does Anna own a red bicycle?\nAnswer: yes",
    "Dr. Who met 3.5 percent of the U.S. Army, e.g. this one. \"Stop.\" Ana said: no!",
    "Is the oak taller than the elm? The elm is 7 metres tall; the pine is not.",
]


def byte_level_bpe() -> tokenizers.Tokenizer:
  """GPT-2's kind: words carry their leading space."""
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
  tokenizer.train_from_iterator(TEXT, trainer)
  return tokenizer


def sentence_piece() -> tokenizers.Tokenizer:
  """Llama 2's kind: white space is a letter, one is put in front of the text, and a BOS."""
  tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
  tokenizer.normalizer = normalizers.Sequence(
      [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
  )
  trainer = trainers.BpeTrainer(
      vocab_size=400,
      special_tokens=["<unk>", "<s>", *(f"<0x{b:02X}>" for b in range(256))],
      show_progress=False,
  )
  # Merges inside words only, as SentencePiece learns them.
  words = [" " + word for line in TEXT for word in line.split()]
  tokenizer.train_from_iterator(words, trainer)
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
      single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
  )
  return tokenizer


def word_piece() -> tokenizers.Tokenizer:
  """BERT's kind: lower case, punctuation apart, white space lost."""
  tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
  tokenizer.normalizer = normalizers.BertNormalizer()
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  specials = ["[UNK]", "[CLS]", "[SEP]"]
  trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
  tokenizer.train_from_iterator(TEXT, trainer)
  return tokenizer


def with_cls_and_sep() -> tokenizers.Tokenizer:
  """BERT's own: as `word_piece`, with special tokens around a text."""
  tokenizer = word_piece()
  special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
      single="[CLS] $A [SEP]", special_tokens=special
  )
  return tokenizer


def merging() -> tokenizers.Tokenizer:
  """Llama 3's kind: a full stop takes the line break behind it into its token."""
  tokenizer = byte_level_bpe()
  pattern = tokenizers.Regex(r" ?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
      pre_tokenizers.Split(pattern, "isolated"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
  ])
  trainer = trainers.BpeTrainer(
      vocab_size=400,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
  )
  tokenizer.train_from_iterator([line + ".\n.\n.\n" for line in TEXT], trainer)
  return tokenizer


KINDS = {
    "byte_level_bpe": byte_level_bpe,
    "sentence_piece": sentence_piece,
    "word_piece": word_piece,
}


def random_prompt(rng, sentences=3, vocab=40, longest=4, choice_lengths=(1, 2), pad=0):
  """A prompt of random tokens: a head, sentences, a tail."""
  lengths = [2, *rng.integers(1, longest + 1, sentences), 3]
  segments = [rng.integers(1, vocab, n) for n in lengths]
  choices = [np.arange(1, n + 1) + 7 * c for c, n in enumerate(choice_lengths)]
  prompt = make_prompt(segments, [0] + [1] * sentences + [0], choices, [3, 2])
  return prompt._replace(tokens=np.pad(prompt.tokens, (0, pad)))


def inputs_of(features):
  """What a head reads of one view, with three choices."""
  return {"features": jnp.asarray(features), "log_probs": jnp.log(jnp.array([0.2, 0.3, 0.5]))}


def randomized(params):
  """The same params with every trained array drawn at random."""
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params["params"])
  return {**params, "params": drawn}
