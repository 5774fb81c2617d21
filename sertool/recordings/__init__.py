"""Find recordings and process them in parallel."""
