"""DistilBERT: BERT's encoder with half the layers, other names, and no token types."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.models.families.bert import encoder_config, encoder_weights
from mezzanine_jax.models.families.family import Family, required
from mezzanine_jax.models.transformer_config import TransformerConfig

_BERT_NAMES = {"hidden_size": "dim", "num_hidden_layers": "n_layers",
               "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim"}


def _config(hf: Mapping[str, Any]) -> TransformerConfig:
  """Maps a DistilBertConfig; the epsilon of its norms is in its code alone."""
  own = dict(hf) | {bert: required(hf, name) for bert, name in _BERT_NAMES.items()}
  return encoder_config(own, token_types=0, norm_eps=1e-12,
                        activation=hf.get("activation", "gelu"))


_WEIGHTS = encoder_weights(
    "transformer.layer", q="attention.q_lin", k="attention.k_lin", v="attention.v_lin",
    out="attention.out_lin", attn_norm="sa_layer_norm", up="ffn.lin1", down="ffn.lin2",
    mlp_norm="output_layer_norm")

DISTILBERT = Family(
    config=_config, weights=_WEIGHTS, prefix="distilbert.",
    ignored=r"(vocab_transform|vocab_layer_norm|vocab_projector|pre_classifier|classifier"
            r"|qa_outputs)\..*|embeddings\.position_ids")
