"""Texts to features: tokens of every view, and the engine against one text at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import byte_level_bpe, merging, sentence_piece, with_cls_and_sep, word_piece

from mezzanine_jax import designs, encoding, language
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import one_row
from mezzanine_jax.models.transformer import Transformer, init_params
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.symmetries import segment_order

TEXTS = {
    "three": "Anna owns a red bicycle. Tom lives in Oslo! The oak is 12 metres tall.",
    "one": "Dr. Who met 3.5 percent of the U.S. Army.",
    "two": "The elm is 7 metres tall. The pine is not.",
}
EXAMPLES = [Example(name, {"text": text}, 0, name) for name, text in TEXTS.items()]
KINDS = [byte_level_bpe, sentence_piece, word_piece, with_cls_and_sep, merging]
SIZES = dict(vocab_size=400, width=16, num_layers=2, num_heads=4, num_kv_heads=4, head_dim=4,
             mlp_width=24, max_positions=128)
CONFIGS = {
    "encoder": TransformerConfig(**SIZES, causal=False, norm="layernorm", norm_place="after",
                                 positions="learned", token_types=2, gated_mlp=False),
    "causal": TransformerConfig(**SIZES, rope_frequencies=(1.0, 0.1)),
}


def _prepare(tokenizer, examples=EXAMPLES, max_tokens=128, **settings):
  return encoding.prepare(examples, tokenizer, field="text", max_tokens=max_tokens, **settings)


def _plan(prepared, tokenizer, causal, num_views=6):
  keys = designs.example_keys(jax.random.key(0), list(TEXTS))
  return language.plan(
      prepared, tokenizer, segment_order(), keys, np.full(len(TEXTS), num_views),
      batch_tokens=200, max_shapes=1, share=causal)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
  config = CONFIGS[request.param]
  params = init_params(config, jax.random.key(0))
  return config, jax.tree.map(lambda a: a * 10 if a.ndim > 2 else a, params)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_view_has_the_tokens_of_its_whole_text(kind):
  tokenizer = kind()
  plan = _plan(_prepare(tokenizer), tokenizer, causal=False)
  read = plan.texts_of(np.arange(len(plan.source)))
  got = {tuple(t[:n].tolist()) for t, n in zip(read.tokens, read.lengths, strict=True)}
  space = "" if kind is sentence_piece else " "  # it puts one there itself
  three, two = (t.replace("! ", "!|").replace(". ", ".|").split("|")
                for t in (TEXTS["three"], TEXTS["two"]))
  orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
  texts = [" ".join(three[i] for i in order) for order in orders]
  texts += [" ".join(two), " ".join(two[::-1]), TEXTS["one"]]
  assert got == {tuple(tokenizer.encode(space + text).ids) for text in texts}


@pytest.mark.parametrize("pooling", encoding.POOLS)
def test_features_are_those_of_the_text_alone(model, pooling, tmp_path):
  config, params = model
  if config.causal and pooling == "cls":
    with pytest.raises(InputError, match="'cls' needs an encoder"):
      encoding.rows_encoder(config, pooling=pooling)
    return
  tokenizer = with_cls_and_sep()
  plan = _plan(_prepare(tokenizer), tokenizer, config.causal)
  assert (plan.shared.any()) == config.causal  # else a token's state depends on what follows
  encode = encoding.rows_encoder(config, pooling=pooling, layer=1)
  store, ran = language.score(
      plan, encoding.view_rows_encoder(encode), params, tmp_path / "s", "f", ids=list(TEXTS))
  features = store_lib.read(store, "features")
  assert ran == len(features) == 6 + 1 + 2
  read = plan.texts_of(np.arange(ran))
  for r in range(ran):
    tokens = jnp.asarray(read.tokens[r, : read.lengths[r]])
    states, = Transformer(config).apply(
        {"params": params}, one_row(tokens, jnp.arange(len(tokens))), layers=(1,))
    expected = {
        "cls": states[0], "last": states[-1], "mean": states.mean(0),
        "mean_std": jnp.concatenate([states.mean(0), states.std(0)]),
    }[pooling]
    np.testing.assert_allclose(features[r], expected, atol=3e-6)


def test_one_text_at_a_time_agrees(model):
  config, params = model
  prepared = _prepare(with_cls_and_sep())
  for own in prepared.tokenized:
    one = encoding.encoder(config)(params, own.prompt).features
    padded = own.prompt._replace(tokens=np.pad(own.prompt.tokens, (0, 9)))
    np.testing.assert_allclose(
        encoding.encoder(config)(params, padded).features, one, atol=3e-6)
    half = encoding.encoder(config, features_dtype="bfloat16")(params, own.prompt).features
    assert half.dtype == jnp.bfloat16


def test_what_does_not_fit_is_left_out_by_whole_units():
  tokenizer = with_cls_and_sep()
  two = len(tokenizer.encode("Anna owns a red bicycle. Tom lives in Oslo!").ids)
  prepared = _prepare(tokenizer, EXAMPLES[:1], max_tokens=two)
  assert prepared.counts["dropped_units"] == prepared.counts["truncated_texts"] == 1
  tokens = prepared.tokenized[0].prompt.tokens.tolist()
  assert tokens == tokenizer.encode("Anna owns a red bicycle. Tom lives in Oslo!").ids


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_first_unit_that_is_too_long_is_cut(kind):
  tokenizer = kind()
  prepared = _prepare(tokenizer, EXAMPLES[1:2], max_tokens=14)
  assert prepared.counts["cut_first_units"] == 1 and prepared.counts["empty_texts"] == 0
  assert 5 <= len(prepared.tokenized[0].prompt.tokens) <= 14


def test_an_empty_text_has_its_special_tokens_or_is_refused():
  empty = [Example("nothing", {"text": " "}, 0, "nothing")]
  assert _prepare(with_cls_and_sep(), empty).tokenized[0].prompt.tokens.size == 2
  with pytest.raises(InputError, match="'nothing' is empty"):
    _prepare(byte_level_bpe(), empty)


@pytest.mark.parametrize("settings, message", [
    (dict(max_tokens=2), "max_length must leave room"),
    (dict(examples=[Example("a", {"other": "x"}, 0, "a")]), "no field 'text'"),
])
def test_what_cannot_be_prepared_is_refused(settings, message):
  with pytest.raises(InputError, match=message):
    _prepare(with_cls_and_sep(), **settings)


@pytest.mark.parametrize("settings, message", [
    (dict(pooling="max"), "pool must be one of cls"), (dict(layer=3), "layer must be between"),
])
def test_settings_of_an_encoder_are_checked(settings, message):
  with pytest.raises(InputError, match=message):
    encoding.encoder(CONFIGS["encoder"], **settings)
