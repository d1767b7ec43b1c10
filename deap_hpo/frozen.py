"""Imported last by the process that workers are forked from: nothing that is there by then is garbage.

Their garbage collections would look through all of torch, and write to it: what is written to is no longer shared.
"""

import gc

gc.collect()
gc.freeze()
