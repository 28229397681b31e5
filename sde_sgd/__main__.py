"""`python -m sde_sgd`: the command line."""

import sys

from sde_sgd.cli import main

sys.exit(main())
