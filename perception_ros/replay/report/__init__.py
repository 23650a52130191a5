"""The report of a replay: one HTML file that says first whether it passed, and why not.

`page.write_report` writes it from what a run has left: `summary.json`, `details.json`, the tables,
and the bag, of which it shows the worst frames. Without the bag it has no pictures.
"""
