"""`python -m samples` is the same as `prism samples`."""

import sys

from .program import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m samples"))
