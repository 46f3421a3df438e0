"""One YAML file a question."""
