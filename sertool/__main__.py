"""``python -m sertool``."""

from .cli import main

main()
