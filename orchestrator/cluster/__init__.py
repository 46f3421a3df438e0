"""Everything that imports Ray: the encoder pass on Ray Data, shared stages as tasks, the grid as a Tune search."""
