"""`python -m backstory`: the command line as a module, which is how torchrun starts it."""

import sys

from backstory.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
