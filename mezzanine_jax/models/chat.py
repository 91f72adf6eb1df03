"""Chat templates: what a chat model puts around a user's message."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json, shown

_MESSAGE = "mezzanine-message"  # stands for the user's message, which some templates strip
_DATE = "26 Jul 2024"  # Llama 3's own default: a prompt must not change from day to day


class ChatTemplate(NamedTuple):
  """A model's own chat template (Jinja) and the special tokens that it names."""

  source: str
  bos_token: str
  eos_token: str


def directory_chat(directory: Path) -> ChatTemplate | None:
  """The chat template of a model folder: chat_template.jinja, else tokenizer_config.json's.

  Args:
    directory: folder of the model.

  Returns:
    None where the model has none.

  Raises:
    InputError: a tokenizer_config.json that cannot be read.
  """
  file = directory / "tokenizer_config.json"
  try:
    config = parse_json(file.read_bytes()) if file.is_file() else {}
  except (ValueError, OSError) as error:
    raise InputError(f"{file} is not valid json ({error})") from error
  if not isinstance(config, Mapping):
    raise InputError(f"{file} must be a json object")
  own = directory / "chat_template.jinja"
  try:
    source = own.read_text("utf-8") if own.is_file() else config.get("chat_template")
  except (ValueError, OSError) as error:
    raise InputError(f"{own} is no readable text ({error})") from error
  if isinstance(source, list):  # several, by name
    named = [t for t in source if isinstance(t, Mapping) and t.get("name") == "default"]
    source = named[0].get("template") if named else None
  if not source:
    return None

  def token(name: str) -> Any:
    value = config.get(name) or ""
    return value.get("content") if isinstance(value, Mapping) else value

  return _checked(source, token("bos_token"), token("eos_token"), str(file))


def gguf_chat(metadata: Mapping[str, Any]) -> ChatTemplate | None:
  """The chat template that a GGUF file's metadata hold; None where there is none."""
  source = metadata.get("tokenizer.chat_template")
  if not source:
    return None

  def token(name: str) -> Any:
    index = metadata.get(f"tokenizer.ggml.{name}_token_id")
    tokens = metadata["tokenizer.ggml.tokens"]
    known = isinstance(index, int) and 0 <= index < len(tokens)
    return "" if index is None else tokens[index] if known else None

  return _checked(source, token("bos"), token("eos"), "the GGUF file")


def _checked(source: Any, bos_token: Any, eos_token: Any, where: str) -> ChatTemplate:
  """A chat template, if it is made of texts."""
  chat = ChatTemplate(source, bos_token, eos_token)
  for name, value in chat._asdict().items():
    if not isinstance(value, str):
      raise InputError(f"the chat template's {name} in {where} must be a text, got "
                       f"{shown(repr(value))}")
  return chat


def around_message(chat: ChatTemplate | None) -> tuple[str, str]:
  """The text before and behind a user's message, up to where the model's own turn begins.

  The template is rendered in Jinja's sandbox, with the generation prompt, for one message of the
  user's; a system message is what the template itself puts there.

  Args:
    chat: the model's.

  Returns:
    `(before, behind)`, special tokens as text (BOS, too, if the template writes it).

  Raises:
    InputError: for a model without a chat template, or one that cannot be rendered.

  Example:
    >>> template = "{{ bos_token }}[{{ messages[0].content }}]{% if add_generation_prompt %}:"
    >>> around_message(ChatTemplate(template + "{% endif %}", "<s>", ""))  # doctest: +SKIP
    ('<s>[', ']:')
  """
  if chat is None:
    raise InputError(
        "the model has no chat template, so that it cannot be asked as a chat model; leave --chat"
        " out, or name a model that was trained to chat"
    )
  try:
    from transformers.utils.chat_template_utils import render_jinja_template

    message = {"role": "user", "content": _MESSAGE}
    rendered = render_jinja_template(
        conversations=[[message]], chat_template=chat.source, add_generation_prompt=True,
        bos_token=chat.bos_token, eos_token=chat.eos_token, date_string=_DATE,
    )[0][0]
  except Exception as error:  # the template is the model's program: whatever goes wrong is told
    reason = " ".join(str(error).split())[:200]
    raise InputError(f"the model's chat template cannot be rendered ({reason}); leave --chat out"
                     ) from error
  before, found, behind = rendered.partition(_MESSAGE)
  if not found or _MESSAGE in behind:
    raise InputError("the model's chat template does not show the user's message once; leave --chat"
                     " out")
  return before, behind
