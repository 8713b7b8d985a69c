"""Experiments of many training runs: which trials to run, running them, storing and comparing their results.

An experiment compares *candidates*, named training configurations. A *trial* trains one candidate on one *block*, a
(fold, seed) pair; all candidates share the same blocks. `allocation` plans the trials, `runner` runs them in `worker`
processes, `store` keeps their results, `ranking` compares the candidates.
"""
