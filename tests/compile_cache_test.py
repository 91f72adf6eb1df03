"""The cache of compiled programs: each test in a process of its own, as JAX reads it once."""

import json
import os
import subprocess
import sys

import pytest

# Prints what `enable` returned, and JAX's counts of what the program after it did.
PROBE = """
import collections, json, sys, warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp
from mezzanine_jax import cli, compile_cache
assert jax.config.jax_compilation_cache_dir is None or "given" in sys.argv
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event]))
if sys.argv[1] == "cli":
  assert cli.main(sys.argv[2:]) == 0
  folder = jax.config.jax_compilation_cache_dir
else:
  folder = compile_cache.enable()
  jax.jit(lambda x: jnp.tanh(x) @ x)(jnp.ones((3, 3))).block_until_ready()
names = ("compile_requests_use_cache", "cache_hits", "cache_misses")
print(json.dumps([folder and str(folder)]
                 + [counts["/jax/compilation_cache/" + name] for name in names]))
"""


def _run(*argv, **environment):
  """(folder, programs asked for, found, written) of one process, whose stderr has no warnings."""
  own = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_"))}
  done = subprocess.run([sys.executable, "-c", PROBE, *argv], env=own | environment,
                        capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert not {"warning", "machine feature"} & set(done.stderr.lower().split()), done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def test_found_again_in_the_users_cache_directory(tmp_path):
  folder, asked, found, written = _run("enable", XDG_CACHE_HOME=str(tmp_path))
  assert os.path.dirname(folder) == str(tmp_path / "mezzanine_jax")
  assert asked > 0 and (found, written) == (0, asked)
  assert _run("enable", XDG_CACHE_HOME=str(tmp_path)) == [folder, asked, asked, 0]
  assert os.stat(folder).st_mode & 0o077 == 0  # nobody else may put programs there


def test_the_folder_that_jax_was_given(tmp_path):
  given = str(tmp_path / "mine")
  folder, asked, _, written = _run("enable", "given", JAX_COMPILATION_CACHE_DIR=given,
                                   XDG_CACHE_HOME=str(tmp_path / "other"))
  assert folder == given and written == asked > 0 and not (tmp_path / "other").exists()


def test_off(tmp_path):
  found = _run("enable", JAX_ENABLE_COMPILATION_CACHE="false", XDG_CACHE_HOME=str(tmp_path))
  assert found == [None, 0, 0, 0] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_a_folder_that_cannot_be_written(name, tmp_path):
  (tmp_path / "file").write_text("")
  found = _run("enable", "given", **{name: str(tmp_path / "file" / "inside")})
  assert found == [None, 0, 0, 0]


def test_spoilt_entries_are_compiled_anew(tmp_path):
  folder, asked, *_ = _run("enable", XDG_CACHE_HOME=str(tmp_path))
  for entry in os.scandir(folder):
    with open(entry.path, "wb") as file:
      file.write(b"cut")
  assert _run("enable", XDG_CACHE_HOME=str(tmp_path))[:3] == [folder, asked, 0]


@pytest.mark.slow
def test_a_second_run_compiles_nothing(tiny_lm, tmp_path):
  def run(out):
    fields = dict(world="evidence_qa", dataset="evidence_qa", lm_name=tiny_lm, n_train=12,
                  n_test=6, k_train=2, k_test=3, steps=20, batch_size=8, eval_every=10, hidden=8)
    argv = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
    return _run("cli", "run", "hf_llm_hiddenstate_order_distill", *argv, "--out",
                str(tmp_path / out), XDG_CACHE_HOME=str(tmp_path / "cache"))

  _, asked, _, written = run("first")
  assert asked >= written > 10
  assert run("second")[2:] == [asked, 0]
