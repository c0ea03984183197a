"""`python -m nbtrain`: the same as the command."""

import sys

from nbtrain.cli import main

sys.exit(main())
