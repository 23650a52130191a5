"""Checks, on a recording, whether LiDAR and cameras are where they are said to be.

`check.check` is all of it: it takes sweeps and the images nearest in time from a bag (`moments`),
looks for what is plainly wrong (`faults`), and lets the images judge the rest
(`fusion/alignment.py`). `page.write` shows it. `docs/calibration.md` has the method.
"""
