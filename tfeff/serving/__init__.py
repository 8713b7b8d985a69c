"""Networks for other people's processes: SavedModels with pre- and post-processing inside."""
