"""A local cache of the hub's datasets, as `datasets` leaves it behind a download."""

import json
import shutil
from pathlib import Path
from typing import Any


def write_dataset(home: Path, hub_id: str, splits: dict[str, Any], subset: str = "default") -> None:
  """Writes `datasets.Dataset`s where a process with HF_HOME=home finds them without a network."""
  from datasets.packaged_modules.parquet.parquet import Parquet

  name = hub_id.split("/")[-1]
  folder = home / "datasets" / hub_id.replace("/", "___") / subset / "0.0.0" / ("0" * 40)
  source, cache = home / "source", home / "made"
  for split, rows in splits.items():
    source.mkdir(exist_ok=True)
    rows.to_parquet(source / f"{split}.parquet")
  files = {split: str(source / f"{split}.parquet") for split in splits}
  Parquet(cache_dir=str(cache), data_files=files).download_and_prepare()
  (made,) = cache.glob("parquet/*/*/dataset_info.json")
  folder.mkdir(parents=True)
  for arrow in made.parent.glob("*.arrow"):
    shutil.move(arrow, folder / arrow.name.replace("parquet", name, 1))
  info = json.loads(made.read_text()) | {"config_name": subset, "dataset_name": name}
  (folder / "dataset_info.json").write_text(json.dumps(info))
  shutil.rmtree(source)
  shutil.rmtree(cache)
