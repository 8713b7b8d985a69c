"""Where images come from: the catalog of schemes, and a reader for each."""
