"""Models of images against PyTorch `transformers`: stored references, and live where torch is."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from mezzanine_jax.errors import InputError
from mezzanine_jax.models import vision
from mezzanine_jax.models.families import VISION, family_of

GOLDENS = Path(__file__).parent.parent / "goldens"


@pytest.fixture
def write_vision(goldens, tmp_path):
  """Writes a model folder: write_vision(golden, **changes of its config)."""

  def write(golden, name="model", **changes):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(golden.config | changes))
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"image_mean": goldens["MEAN"], "image_std": goldens["STD"]}))
    save_file(golden.weights, folder / "model.safetensors")
    return folder

  return write


@pytest.fixture
def vit(goldens):
  """The stored ViT."""
  return goldens["read"](GOLDENS / "vit.safetensors")


def _compare(golden, write_vision):
  """The class token at the end, the patches' moments in the middle, and both sizes of images."""
  model = vision.load_vision(str(write_vision(golden)))
  larger = vision.load_vision(model.name, size=golden.resized.shape[1])
  assert larger.config.max_positions == golden.resized_hidden.shape[1]
  last, middle = vision.encoder(model), vision.encoder(model, layer=1, pooling="mean_std")
  of_larger = vision.encoder(larger, pooling="mean")
  cls, moments, mean = jax.jit(lambda own, other, images, resized: (
      last(own, images), middle(own, images), of_larger(other, resized)))(
          model.params, larger.params, golden.images, golden.resized)
  np.testing.assert_allclose(cls, golden.hidden[-1, :, 0], atol=1e-4, rtol=0)
  expected = np.concatenate([golden.hidden[1].mean(1), golden.hidden[1].std(1)], -1)
  np.testing.assert_allclose(moments, expected, atol=1e-4, rtol=0)
  np.testing.assert_allclose(mean, golden.resized_hidden.mean(1), atol=1e-4, rtol=0)
  assert np.abs(golden.hidden).max() > 1 and golden.hidden[1].std(1).min() > 0.05


@pytest.mark.parametrize("name", VISION)
def test_matches_the_stored_reference(name, goldens, write_vision):
  _compare(goldens["read"](GOLDENS / f"{name}.safetensors"), write_vision)


@pytest.mark.torch
@pytest.mark.parametrize("name", VISION)
def test_matches_torch_live(name, goldens, write_vision):
  pytest.importorskip("torch")
  _compare(goldens["compute_vision"](name, seed=7), write_vision)


@pytest.mark.torch
@pytest.mark.parametrize("old, new", [(3, 5), (5, 3), (2, 7), (37, 16)])
def test_positions_are_interpolated_as_torch_does(old, new):
  torch = pytest.importorskip("torch")
  table = np.random.default_rng(0).normal(size=(1 + old**2, 4)).astype(np.float32)
  grid = torch.tensor(table[1:]).reshape(1, old, old, 4).permute(0, 3, 1, 2)
  expected = torch.nn.functional.interpolate(
      grid, size=(new, new), mode="bicubic", align_corners=False)
  expected = expected.permute(0, 2, 3, 1).reshape(-1, 4).numpy()
  got = vision.interpolate(table, old, new)
  np.testing.assert_array_equal(got[0], table[0])
  np.testing.assert_allclose(got[1:], expected, atol=1e-5)


def test_positions_of_the_same_grid_stay():
  table = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
  np.testing.assert_allclose(vision.interpolate(table, 3, 3), table, atol=1e-6)


def test_grey_images_of_another_size_and_batch_mates(vit, write_vision):
  """An image's features are its own, and a grey one is one of three equal channels."""
  model = vision.load_vision(str(write_vision(vit)))
  encode = jax.jit(vision.encoder(model))
  grey = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
  together = encode(model.params, grey)
  np.testing.assert_allclose(encode(model.params, np.repeat(grey, 3, -1)), together, atol=1e-5)
  others = np.stack([grey[2], grey[1], 1 - grey[0]])
  np.testing.assert_allclose(encode(model.params, others)[1], together[1], atol=1e-5)
  assert np.abs(together[0] - together[1]).max() > 1e-2


def test_the_digest_follows_the_numbers(vit, write_vision):
  folder = write_vision(vit)
  first, larger = (vision.load_vision(str(folder), size=size).digest for size in (None, 16))
  assert vision.load_vision(str(write_vision(vit, "again"))).digest == first != larger
  file = folder / "preprocessor_config.json"
  file.write_text(file.read_text().replace("0.4", "0.45"))
  assert vision.load_vision(str(folder)).digest != first


@pytest.mark.parametrize("changes, message", [
    (dict(use_swiglu_ffn=True), "use_swiglu_ffn"),
    (dict(model_type="bert"), "models of type 'bert' are not supported; supported: vit, dinov2"),
    (dict(patch_size=None), "lacks the field 'patch_size'"),
    (dict(image_size=[12, 12]), "must hold an integer >= 1 in 'image_size'"),
    (dict(image_size=16), "position_embeddings has .1, 10, 16. where the config asks for .17,"),
    (dict(num_channels=1), r"image_mean in .* must be 1 numbers, got \[0.5, 0.4, 0.3\]"),
    (dict(num_hidden_layers=3), "the weights lack"),
])
def test_models_that_are_refused(vit, write_vision, changes, message):
  folder = write_vision(vit, **changes)
  with pytest.raises(InputError, match=message):
    vision.load_vision(str(folder))


def test_what_else_is_refused(vit, write_vision):
  folder = write_vision(vit)
  for settings, message in (
      (dict(size=10), "must be a multiple of 4, the side of the model's patches, got 10"),
      (dict(dtype="float16"), "dtype must be one of"),
  ):
    with pytest.raises(InputError, match=message):
      vision.load_vision(str(folder), **settings)
  model = vision.load_vision(str(folder))
  with pytest.raises(InputError, match="pool must be one of cls, mean, mean_std, got 'last'"):
    vision.encoder(model, pooling="last")
  with pytest.raises(InputError, match="layer must be between -3 and 2"):
    vision.encoder(model, layer=3)
  with pytest.raises(InputError, match="needs images of 3 channels .or grey ones., got 4"):
    jax.eval_shape(vision.encoder(model), model.params, np.zeros((1, 8, 8, 4), np.float32))
  (folder / "preprocessor_config.json").write_text("{")
  with pytest.raises(InputError, match="image_mean in .*preprocessor_config.json cannot be read"):
    vision.load_vision(str(folder))
  (folder / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0]}')
  with pytest.raises(InputError, match="image_std in .* must be 3 numbers, got None"):
    vision.load_vision(str(folder))
  (folder / "preprocessor_config.json").unlink()
  with pytest.raises(InputError, match="holds no preprocessor_config.json"):
    vision.load_vision(str(folder))


def test_a_model_of_images_is_none_of_texts():
  with pytest.raises(InputError, match="models of type 'vit' are not supported; supported: gpt2"):
    family_of("vit")
