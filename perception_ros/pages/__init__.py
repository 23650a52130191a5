"""What the HTML reports of the product share: style, tables, plots, one page of all.

`page.render` makes one file of a template. The libraries `jinja2` and `matplotlib` are of the
extra `replay`; training has them too.
"""
