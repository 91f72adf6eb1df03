"""Installed packages made up for a test."""

import tomllib
from pathlib import Path


def write_package(folder: Path, name: str, code: str, entry_points: str) -> None:
  """Writes a module and the metadata of a distribution that registers entry points."""
  write_metadata(folder, name, entry_points)
  (folder / f"{name}.py").write_text(code)


def write_metadata(folder: Path, name: str, entry_points: str) -> None:
  """Writes what an installed distribution says of itself."""
  info = folder / f"{name}-1.0.dist-info"
  info.mkdir(parents=True)
  (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
  (info / "entry_points.txt").write_text(entry_points)


def entry_points(pyproject: str) -> str:
  """The entry points that installing a `pyproject.toml` registers."""
  groups = tomllib.loads(pyproject)["project"]["entry-points"]
  return "\n".join(f"[{group}]\n" + "\n".join(f"{name} = {what}" for name, what in points.items())
                   for group, points in groups.items())
