"""python -m isingnpu"""

import sys

from isingnpu.cli import main

if __name__ == "__main__":
    sys.exit(main())
