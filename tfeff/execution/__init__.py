"""Where calls run: threads, processes of this machine, a cluster; all behind one interface."""
