"""Export: SavedModels that include pre- and post-processing."""
