"""Pictures and tables of plain arrays and dicts, so that every other folder may show what it did."""
