"""`python -m widget_store` is the `widget-store` command."""

import sys

from widget_store.cli import main

sys.exit(main())
