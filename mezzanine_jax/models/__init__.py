"""Language models: one transformer, families as data, loading of published weights."""
