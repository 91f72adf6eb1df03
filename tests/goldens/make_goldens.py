"""Makes the golden files: tiny random models and what PyTorch `transformers` computes with them.

Run from the root of the repository, where torch is installed:
  python tests/goldens/make_goldens.py [NAME ...]
Each file holds the weights under their Hugging Face names, `golden.*` arrays, and the config.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES = dict(vocab_size=100, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
ENCODER = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
LLAMA3 = dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=16)
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": dict(model_type="gpt2", vocab_size=100, n_embd=16, n_layer=3, n_head=4,
                 n_positions=64),
    "gpt2_untied": dict(model_type="gpt2", vocab_size=100, n_embd=16, n_layer=3, n_head=2,
                        n_positions=64, n_inner=24, tie_word_embeddings=False,
                        activation_function="relu"),
    "llama": dict(SIZES, model_type="llama", tie_word_embeddings=True, rope_parameters=dict(
        rope_type="default", rope_theta=100.0)),
    "llama_untied": dict(SIZES, model_type="llama", tie_word_embeddings=False,
                         rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
    "llama_linear": dict(SIZES, model_type="llama", num_key_value_heads=1, rope_parameters=dict(
        rope_type="linear", rope_theta=1000.0, factor=2.0)),
    "mistral": dict(SIZES, model_type="mistral", sliding_window=4, head_dim=8),
    "qwen2": dict(SIZES, model_type="qwen2", tie_word_embeddings=True, rope_parameters=YARN),
    "qwen3": dict(SIZES, model_type="qwen3", head_dim=8),
    "bert": dict(ENCODER, model_type="bert", type_vocab_size=2),
    "distilbert": dict(model_type="distilbert", vocab_size=100, dim=16, hidden_dim=24, n_layers=3,
                       n_heads=4, max_position_embeddings=64),
    "roberta": dict(ENCODER, model_type="roberta", type_vocab_size=1, pad_token_id=1),
}
ENCODERS = ("bert", "distilbert", "roberta")  # without choices; -1 is their last block's state
CHOICES = ((5, 17, 80), (42,))  # token ids
IMAGES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=12,
              patch_size=4, num_channels=3)
VISION: dict[str, dict[str, Any]] = {
    "vit": dict(IMAGES, model_type="vit", intermediate_size=24),
    "dinov2": dict(IMAGES, model_type="dinov2", mlp_ratio=2),
}
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)  # of the pixels, by channel
RESIZED = 20  # pixels a side of other images than those the model was made for


class Golden(NamedTuple):
  """A tiny model and its reference values."""

  config: dict[str, Any]
  weights: dict[str, np.ndarray]
  tokens: np.ndarray  # int32[T]
  hidden: np.ndarray  # float32[L + 1, T, D]
  choice_log_probs: np.ndarray  # float32[C], of CHOICES behind the tokens; none for an encoder


def compute(name: str, seed: int = 0, num_tokens: int = 12) -> Golden:
  """Runs PyTorch on random weights of one of CONFIGS."""
  import torch
  import transformers

  settings = dict(CONFIGS[name])
  config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
  kind = "MaskedLM" if name in ENCODERS else "CausalLM"  # with its head, as most checkpoints are
  auto = getattr(transformers, f"AutoModelFor{kind}")
  model = auto.from_config(config, attn_implementation="eager")
  model = model.float().eval()
  draw = np.random.default_rng(seed)
  with torch.no_grad():
    # Norms and biases too: nothing may hide at 0 or 1. Much larger matrices would lift PyTorch's
    # own float32 rounding (against float64) above the tolerance of the comparison.
    for parameter in model.parameters():
      values = draw.normal(size=tuple(parameter.shape)) * (0.3 if parameter.ndim > 1 else 0.2)
      shift = parameter.mean().round() if parameter.ndim == 1 else 0.0
      parameter.copy_(torch.tensor(values, dtype=torch.float32) + shift)
    lowest = 2 if name == "roberta" else 0  # it counts no positions at its padding token
    tokens = draw.integers(lowest, config.vocab_size, num_tokens).astype(np.int32)

    def run(ids):
      return model(torch.tensor(ids, dtype=torch.long)[None], output_hidden_states=True)

    hidden = torch.stack(run(tokens).hidden_states)[:, 0].numpy()
    log_probs = []
    for choice in CHOICES if name not in ENCODERS else ():
      logits = run([*tokens.tolist(), *choice]).logits[0, num_tokens - 1:-1]
      picked = torch.log_softmax(logits, -1)[torch.arange(len(choice)), list(choice)]
      log_probs.append(picked.sum().item())
  weights = {key: value.numpy() for key, value in model.state_dict().items()}
  if config.tie_word_embeddings:
    tied = {"bert": "cls.predictions.decoder.weight", "distilbert": "vocab_projector.weight",
            "roberta": "lm_head.decoder.weight"}.get(name, "lm_head.weight")
    del weights[tied]
  return Golden(config.to_dict(), weights, tokens, hidden, np.array(log_probs, np.float32))


class VisionGolden(NamedTuple):
  """A tiny model of images and its reference values."""

  config: dict[str, Any]
  weights: dict[str, np.ndarray]  # as a checkpoint's file has them
  images: np.ndarray  # float32[B, 12, 12, 3] in [0, 1]
  hidden: np.ndarray  # float32[L + 1, B, T, D], the last after the final norm
  resized: np.ndarray  # float32[B, RESIZED, RESIZED, 3]
  resized_hidden: np.ndarray  # float32[B, T', D], after the final norm


def compute_vision(name: str, seed: int = 0) -> VisionGolden:
  """Runs PyTorch on random weights of one of VISION."""
  import tempfile

  import torch
  import transformers
  from safetensors.numpy import load_file

  settings = dict(VISION[name])
  config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
  model = transformers.AutoModel.from_config(config, attn_implementation="eager").float().eval()
  draw = np.random.default_rng(seed)
  images, resized = (draw.uniform(size=(2, side, side, 3)).astype(np.float32)
                     for side in (config.image_size, RESIZED))
  more = {"interpolate_pos_encoding": True} if name == "vit" else {}
  with torch.no_grad():
    for parameter in model.parameters():
      values = draw.normal(size=tuple(parameter.shape)) * (0.3 if parameter.ndim > 1 else 0.2)
      shift = parameter.mean().round() if parameter.ndim == 1 else 0.0
      parameter.copy_(torch.tensor(values, dtype=torch.float32) + shift)

    def run(images, **more):
      pixels = ((images - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)
      return model(torch.tensor(pixels), output_hidden_states=True, **more)

    out = run(images)
    hidden = torch.stack([*out.hidden_states[:-1], out.last_hidden_state]).numpy()
    resized_hidden = run(resized, **more).last_hidden_state.numpy()
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    weights = load_file(Path(folder) / "model.safetensors")
  return VisionGolden(config.to_dict(), weights, images, hidden, resized, resized_hidden)


def write(golden: Golden | VisionGolden, path: Path) -> None:
  """Saves a golden as one safetensors file, the config in its metadata."""
  from safetensors.numpy import save_file

  own = golden._asdict()
  config, weights = own.pop("config"), own.pop("weights")
  arrays = weights | {f"golden.{key}": value for key, value in own.items()}
  arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
  save_file(arrays, path, {"config": json.dumps(config)})


def read(path: Path) -> Golden | VisionGolden:
  """Loads a golden."""
  from safetensors import safe_open

  with safe_open(path, framework="numpy") as file:
    arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    config = json.loads(file.metadata()["config"])
  kind = VisionGolden if "golden.images" in arrays else Golden
  own = {key: arrays.pop(f"golden.{key}") for key in kind._fields[2:]}
  return kind(config, arrays, **own)


if __name__ == "__main__":
  for each in sys.argv[1:] or [*CONFIGS, *VISION]:
    target = Path(__file__).parent / f"{each}.safetensors"
    write((compute_vision if each in VISION else compute)(each), target)
    print(target.name, target.stat().st_size)
