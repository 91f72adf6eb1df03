"""What some fields of a configuration may be, apart from the code behind it, which imports more."""

DTYPES = ("float32", "bfloat16")  # of a language model's weights, see `models.load`
SOLVERS = ("adamw", "tangent")  # of adapters, see `finetune` and `tangents`
CHOICE_NORMS = ("none", "token", "char")  # see `scoring`
FEATURES_DTYPES = ("float32", "bfloat16", "float16")  # see `encoding`
POOLS = ("cls", "mean", "last", "mean_std")  # see `encoding`
IMAGE_POOLS = ("cls", "mean", "mean_std")  # see `models.vision`
UNITS = ("sentence", "paragraph", "document")  # see `sentences`
ORBITS = ("full", "cyclic")  # see `symmetries.option_order`
