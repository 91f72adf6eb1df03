"""Metadata and dependencies of mezzanine_jax."""

import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(
    r'__version__ = "(.+)"', (here / "mezzanine_jax/__init__.py").read_text()
).group(1)

setup(
    name="mezzanine_jax",
    version=version,
    description="Measure how far a model's answer moves over views that should not change it, "
    "and distill the average into one pass.",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["mezzanine_jax", "mezzanine_jax.*"]),
    package_data={"mezzanine_jax": ["pages/*", "skeleton/*"]},
    python_requires=">=3.11",
    install_requires=[
        "datasets",
        "flax>=0.11",
        "gguf>=0.17",
        "huggingface_hub",
        "jax>=0.7.2",
        "jinja2>=3.1.6",
        "matplotlib",
        "ml-collections",
        "numpy",
        "optax",
        "orbax-checkpoint>=0.11",
        "pandas",
        "pyarrow",
        "rich",
        "safetensors",
        "scipy",
        "syntok",
        "tensorstore",
        "tokenizers",
        "transformers>=5",
    ],
    extras_require={
        "lm_eval": ["lm_eval>=0.4.13"],
        "robotics": ["mujoco>=3"],
        "tensorboard": ["tensorboardX>=2.6.3"],
        "test": [
            "hypothesis", "ipykernel", "mujoco>=3", "nbclient", "nbformat", "pillow", "pytest",
            "pytest-xdist", "scikit-learn", "sentencepiece", "tensorboardX>=2.6.3",
        ],
        "tpu": ["jax[tpu]>=0.7.2"],
        "vision": ["pillow", "scikit-learn"],
        "wandb": ["wandb>=0.19.10"],
    },
    entry_points={"console_scripts": ["mezzanine = mezzanine_jax.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
