"""The entry script for Ray's own launcher: `ray submit cluster.yaml run.py SPACE` runs a space on the whole cluster."""

import sys

from orchestrator.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run", "--address", "auto"]
    main()
