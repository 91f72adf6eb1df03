"""Tokenizers: a plain `tokenizers.Tokenizer`, from a model folder or from a GGUF file."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import shown

# How text is cut before the merges, as Llama 3's and Qwen 2's tokenizer.json files say it.
_CUT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
_CONTROL, _USER_DEFINED = 3, 4  # token types of GGUF


def _byte_level() -> pre_tokenizers.PreTokenizer:
  """GPT-2's own cut, into bytes."""
  return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
  """A cut by a regular expression, into bytes."""
  return pre_tokenizers.Sequence([
      pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


GGUF_PRE_TOKENIZERS = {
    "gpt-2": _byte_level,
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _byte_level()]),
    "llama-bpe": lambda: _split(_CUT % r"\p{N}{1,3}"),
    "qwen2": lambda: _split(_CUT % r"\p{N}"),
}


def directory_tokenizer(directory: Path) -> Tokenizer:
  """The tokenizer of a model folder: its tokenizer.json, or what `transformers` makes of it.

  Args:
    directory: folder of the model.

  Returns:
    the tokenizer, without padding and truncation. `encode` adds the special tokens that
    tokenizer.json adds, as `transformers` 5 does (it, too, lets them go before add_bos_token).

  Raises:
    InputError: no tokenizer, or none of the fast kind.
  """
  file = directory / "tokenizer.json"
  if not file.is_file():
    return _plain(_auto_tokenizer(directory))
  with failures(f"{file} is not a readable tokenizer"):
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.encode("a b")  # some of what is wrong shows no sooner
  return _plain(tokenizer)


@contextlib.contextmanager
def failures(sentence: str) -> Iterator[None]:
  """Tells of whatever goes wrong in the tokenizers library, which raises nothing more precise.

  Args:
    sentence: what failed; the reason is put behind it.

  Raises:
    InputError: instead of any exception.
  """
  try:
    yield
  except BaseException as error:
    # A panic of the library's own code is not an `Exception`.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
      raise
    raise InputError(f"{sentence} ({shown(error, 200)})") from error


def _plain(tokenizer: Tokenizer) -> Tokenizer:
  """Every text is encoded whole and alone."""
  tokenizer.no_padding()
  tokenizer.no_truncation()
  return tokenizer


def _auto_tokenizer(directory: Path) -> Tokenizer:
  """A tokenizer from other files (vocab.json and merges.txt, say)."""
  import transformers

  try:
    made = transformers.AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False)
  except (OSError, ValueError, KeyError, ImportError) as error:
    reason = str(error).strip().split("\n")[0]
    raise InputError(f"{directory} holds no tokenizer that can be loaded; it needs a "
                     f"tokenizer.json ({reason})") from error
  backend = getattr(made, "backend_tokenizer", None)
  if backend is None:
    raise InputError(f"the tokenizer of {directory} is a {type(made).__name__}, not of the fast "
                     "kind; convert it to a tokenizer.json")
  return backend


def _template(bos: str, index: int) -> TemplateProcessing:
  """A post-processor that puts the start token first."""
  return TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                            special_tokens=[(bos, index)])


def gguf_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
  """The byte-level BPE tokenizer that a GGUF file holds.

  Args:
    metadata: the file's metadata by key; read are the keys under `tokenizer.ggml.`.

  Returns:
    the tokenizer; `encode` adds the start token where the file says so.

  Raises:
    InputError: no tokenizer, or one of a kind that is not supported.
  """

  def get(key: str, default: Any = None) -> Any:
    return metadata.get(f"tokenizer.ggml.{key}", default)

  kind, pre = get("model"), str(get("pre", "none"))
  if kind != "gpt2":
    raise InputError(f"a GGUF tokenizer of model {shown(kind)!r} is not supported; supported: "
                     "'gpt2' (byte-level BPE); use the model's safetensors folder")
  if pre not in GGUF_PRE_TOKENIZERS:
    raise InputError(f"a GGUF tokenizer of pre-tokenizer {shown(pre)!r} is not supported; "
                     f"supported: {', '.join(GGUF_PRE_TOKENIZERS)}; use the model's safetensors "
                     "folder")
  tokens, merges, types = get("tokens"), get("merges"), get("token_type") or []
  if not tokens or not _all(tokens, str) or not _all(merges, str):
    raise InputError("the GGUF file holds no tokenizer.ggml.tokens and merges")
  if types and not _all(types, int):
    raise InputError("the GGUF file's token types must be a list of integers")
  if types and len(types) != len(tokens):
    raise InputError(f"the GGUF file holds {len(tokens)} tokens but {len(types)} token types")
  if len(set(tokens)) != len(tokens):
    raise InputError("the GGUF file holds a token twice")
  # Llama 3 keeps a piece that is a token as a whole, without merging up to it.
  with failures("the GGUF file holds a tokenizer that cannot be used"):
    model = tokenizers.models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                                  merges=[tuple(merge.split(" ", 1)) for merge in merges],
                                  ignore_merges=pre == "llama-bpe")
  tokenizer = Tokenizer(model)
  tokenizer.pre_tokenizer = GGUF_PRE_TOKENIZERS[pre]()
  tokenizer.decoder = decoders.ByteLevel()
  if pre == "qwen2":
    tokenizer.normalizer = normalizers.NFC()
  for i in (i for i, kind in enumerate(types) if kind in (_CONTROL, _USER_DEFINED)):
    special = types[i] == _CONTROL
    add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
    add([AddedToken(tokens[i], special=special, normalized=False)])
  if get("add_bos_token", pre == "llama-bpe") and get("bos_token_id") is not None:
    index = get("bos_token_id")
    if not isinstance(index, int) or not 0 <= index < len(tokens):
      raise InputError(f"the GGUF file's bos_token_id must be one of its {len(tokens)} tokens, got "
                       f"{shown(index)}")
    with failures("the GGUF file holds a start token that cannot be used"):
      tokenizer.post_processor = _template(tokens[index], index)
  return tokenizer


def _all(value: Any, kind: type) -> bool:
  """Whether it is a list of such things."""
  return isinstance(value, list) and all(isinstance(item, kind) for item in value)
