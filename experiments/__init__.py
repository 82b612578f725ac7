"""Scripts that made a figure in docs/log.md or in a model card; each says which."""
