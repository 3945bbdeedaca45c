import sys

from caa_core.cli import main

sys.exit(main())
