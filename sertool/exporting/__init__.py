"""Turn a network into a bundle: export, measure, gate, describe."""
