"""Pack, check and compare bundles."""
