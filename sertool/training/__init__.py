"""Train a registered model from a TOML recipe."""
