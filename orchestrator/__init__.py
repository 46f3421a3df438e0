"""tokengrid: which speech features should a speech LLM be fed? The machine that runs the grid."""
