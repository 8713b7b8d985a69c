"""Executors run function calls in threads, in local processes or on a Ray cluster, behind one interface."""
