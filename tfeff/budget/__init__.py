"""The search for the best network for some images within a budget.

`candidates` lists starts and what they can be scaled to, with exact costs. `study` prepares the search: which of these
the budget allows (`limits`), by costs that `exported` estimates. `competition` discards the clearly worse ones by
linear probes (`probing`) and trains the others on more and more folds (`race`). `prospects` says what more images or
compute would bring, `delivery` trains the choice on all images and exports it, `search` runs these, and `report` writes
everything.
"""
