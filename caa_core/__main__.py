import sys

from caa_core.cli.main import main

sys.exit(main())
