"""One file a stage: pure functions of a frozen configuration and the artifacts of its inputs, to files. No Ray here."""
