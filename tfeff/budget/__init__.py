"""The search for the best network for some images within a budget.

`candidates` lists starts and what they can be scaled to, with exact costs; `limits` says which of these the budget
allows; `probing` discards the clearly worse ones by linear probes; `search` trains the others on more and more folds
(`race` decides which), trains the choice on all images, exports it and measures it (`delivery`); `report` writes
everything.
"""
