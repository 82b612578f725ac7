"""unstir: text-to-image models of your own."""
