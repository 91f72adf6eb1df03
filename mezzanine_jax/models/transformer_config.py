"""The facts of one architecture; `families` fills them from published configs."""

import dataclasses

import jax

from mezzanine_jax.errors import InputError

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}
_KINDS = {float: int | float, tuple[float, ...]: tuple}  # whole numbers are numbers, too
_MOST, _MOST_LAYERS = 2**31 - 1, 2**12


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """The facts of one architecture; hashable, so that it can be static under `jax.jit`.

  Attributes:
    vocab_size: tokens in the vocabulary (V).
    patch_values: numbers of a patch where a row is an image's patches: a stream's `tokens` are then
      float[T, patch_values], and the vocabulary is the one class token, in place of what stands
      at position 0 of a row; 0 for tokens that are ids.
    width: size of the residual stream (D).
    num_layers: number of blocks.
    num_heads: query heads; a multiple of `num_kv_heads`.
    num_kv_heads: key/value heads.
    head_dim: size of one head.
    mlp_width: hidden size of the MLP.
    max_positions: longest sequence the model was made for.
    causal: whether a token sees only what stands before it (and itself), or its whole row.
    norm: "layernorm" or "rmsnorm".
    norm_place: "before" each half of a block, and at the end of all; or "after" each half is
      added to the residual stream, and after the embeddings (BERT).
    norm_eps: added to the variance.
    positions: "learned" (a table added to the embeddings) or "rotary".
    position_offset: rows of the learned table that stand before that of position 0.
    token_types: rows of a table whose first one is added to every embedding; 0 for no table.
    rope_frequencies: radians per position of each of the head_dim / 2 rotary pairs, with the
      published scaling already in them; empty for learned positions.
    rope_scale: factor on the rotary cosines and sines (1 but for yarn).
    activation: a name in `ACTIVATIONS`.
    gated_mlp: down(act(gate(x)) * up(x)) when true, down(act(up(x))) when false.
    qkv_bias: whether queries, keys and values have a bias.
    out_bias: whether the attention's output has a bias.
    mlp_bias: whether the MLP's matrices have a bias.
    layer_scale: whether each half of a block is multiplied by a vector before it is added (DINOv2).
    qk_norm: whether every head's query and key pass an RMS norm before the rotation (Qwen3).
    tied_embeddings: whether the token embeddings are the output matrix too.
    sliding_window: a token sees positions nearer than this only; None for no limit.
  """

  vocab_size: int
  width: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_width: int
  max_positions: int
  causal: bool = True
  norm: str = "rmsnorm"
  norm_place: str = "before"
  norm_eps: float = 1e-5
  positions: str = "rotary"
  position_offset: int = 0
  token_types: int = 0
  rope_frequencies: tuple[float, ...] = ()
  rope_scale: float = 1.0
  activation: str = "silu"
  gated_mlp: bool = True
  qkv_bias: bool = False
  out_bias: bool = False
  mlp_bias: bool = False
  layer_scale: bool = False
  qk_norm: bool = False
  tied_embeddings: bool = True
  patch_values: int = 0
  sliding_window: int | None = None

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value, kind = getattr(self, field.name), _KINDS.get(field.type, field.type)
      if not isinstance(value, kind) or isinstance(value, bool) != (field.type is bool):
        raise InputError(f"{field.name} in a model's config must be of type "
                         f"{getattr(field.type, '__name__', field.type)}, got {str(value)[:60]!r}")
    for name in ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_dim",
                 "mlp_width", "max_positions"):
      value, most = getattr(self, name), _MOST_LAYERS if name == "num_layers" else _MOST
      if not 1 <= value <= most:
        raise InputError(f"{name} must be an integer >= 1 and <= {most}, got {str(value)[:60]}")
    for name in ("norm_eps", "rope_scale", "position_offset", "token_types", "sliding_window"):
      if not 0 <= (getattr(self, name) or 0) <= _MOST:
        raise InputError(f"{name} must be a number >= 0, got {str(getattr(self, name))[:60]}")
    if self.num_heads % self.num_kv_heads:
      raise InputError(f"num_heads must be a multiple of num_kv_heads, got {self.num_heads} "
                       f"and {self.num_kv_heads}")
    if self.norm not in ("layernorm", "rmsnorm"):
      raise InputError(f"norm must be 'layernorm' or 'rmsnorm', got {self.norm!r}")
    if self.norm_place not in ("before", "after"):
      raise InputError(f"norm_place must be 'before' or 'after', got {self.norm_place!r}")
    if self.sliding_window is not None and not self.causal:
      raise InputError("a sliding window is supported in causal models only, got "
                       f"{self.sliding_window}")
    if self.activation not in ACTIVATIONS:
      raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, "
                       f"got {self.activation!r}")
    if self.positions not in ("learned", "rotary"):
      raise InputError(f"positions must be 'learned' or 'rotary', got {self.positions!r}")
    pairs = self.head_dim // 2 if self.positions == "rotary" else 0
    if len(self.rope_frequencies) != pairs or (pairs and self.head_dim % 2):
      raise InputError(f"rope_frequencies must hold {pairs} values for head_dim {self.head_dim} "
                       f"and {self.positions} positions, got {len(self.rope_frequencies)}")
