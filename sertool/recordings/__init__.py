"""Find recordings and work through them."""
