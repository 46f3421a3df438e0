"""The commands of the command line, thin over the Python API; cli.py registers them."""
