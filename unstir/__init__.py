"""unstir: text-to-image models of your own."""

__version__ = "0.1.0"
