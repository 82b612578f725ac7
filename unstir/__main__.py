"""`python -m unstir` is `unstir`."""

import sys

from unstir.cli import main

if __name__ == "__main__":
    sys.exit(main())
