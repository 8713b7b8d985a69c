"""`python -m tfeff.detect`: another name of `python -m tfeff.predict`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tfeff.predict", run_name="__main__")
