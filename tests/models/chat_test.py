"""Chat templates: where they are found, and what they put around a message."""

import json

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.chat import ChatTemplate, around_message, directory_chat, gguf_chat

SOURCE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def test_a_message_is_surrounded_up_to_the_models_turn():
  pytest.importorskip("jinja2")
  around = around_message(ChatTemplate(SOURCE, "<s>", "</s>"))
  assert around == ("<s><|user|>", "</s><|assistant|>\n")


def test_a_prompt_does_not_change_with_the_date():
  pytest.importorskip("jinja2")
  today = "{% if date_string is not defined %}{% set date_string = strftime_now('%Y') %}{% endif %}"
  before, _ = around_message(ChatTemplate(today + "{{ date_string }} " + SOURCE, "", ""))
  assert before.startswith("26 Jul 2024 ")


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (None, "has no chat template"),
        (ChatTemplate("{{ raise_exception('system first') }}", "", ""), "system first"),
        (ChatTemplate("{{ messages.__class__.__mro__ }}", "", ""), "cannot be rendered|does not"),
        (ChatTemplate("hello", "", ""), "does not show the user's message once"),
        (ChatTemplate("{{ messages[0].content }}" * 2, "", ""), "message once"),
    ],
)
def test_templates_that_cannot_be_used(chat, message):
  if chat is not None:
    pytest.importorskip("jinja2")
  with pytest.raises(InputError, match=message):
    around_message(chat)


def test_a_folder_keeps_it_in_either_file(tmp_path):
  assert directory_chat(tmp_path) is None
  config = {"chat_template": [{"name": "tool_use", "template": "t"},
                              {"name": "default", "template": "d"}],
            "bos_token": {"content": "<s>"}, "eos_token": None}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  assert directory_chat(tmp_path) == ("d", "<s>", "")
  (tmp_path / "chat_template.jinja").write_text("own")
  assert directory_chat(tmp_path) == ("own", "<s>", "")
  (tmp_path / "tokenizer_config.json").write_text("{")
  with pytest.raises(InputError, match="is not valid json"):
    directory_chat(tmp_path)


def test_a_gguf_file_keeps_it_among_its_metadata():
  metadata = {"tokenizer.ggml.tokens": ["a", "<s>", "</s>"], "tokenizer.ggml.bos_token_id": 1}
  assert gguf_chat(metadata) is None
  assert gguf_chat(metadata | {"tokenizer.chat_template": "x"}) == ("x", "<s>", "")
