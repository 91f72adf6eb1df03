"""Installed packages made up for a test."""

from pathlib import Path


def write_package(folder: Path, name: str, code: str, entry_points: str) -> None:
  """Writes a module and the metadata of a distribution that registers entry points."""
  info = folder / f"{name}-1.0.dist-info"
  info.mkdir(parents=True)
  (folder / f"{name}.py").write_text(code)
  (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
  (info / "entry_points.txt").write_text(entry_points)
