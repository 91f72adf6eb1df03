"""RoBERTa: BERT's encoder, whose positions are counted from behind the padding token's id."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.models.families.bert import BERT, encoder_config
from mezzanine_jax.models.families.family import size
from mezzanine_jax.models.transformer_config import TransformerConfig


def _config(hf: Mapping[str, Any]) -> TransformerConfig:
  """Maps a RobertaConfig: of its 514 positions the first two are never a token's."""
  padding = hf.get("pad_token_id")
  offset = (size(hf, "pad_token_id") if padding else 1 if padding is None else 0) + 1
  return encoder_config(hf, position_offset=offset,
                        max_positions=size(hf, "max_position_embeddings") - offset)


ROBERTA = BERT._replace(
    config=_config, prefix="roberta.",
    ignored=r"(pooler|lm_head|classifier|qa_outputs)\..*|embeddings\.position_ids")
