"""Faults on purpose: the messages of a bag as a bad vehicle would have delivered them.

`plan.read_faults` reads what is to go wrong, `inject.Injector` lets it: it turns the messages of a
bag into others and says of each that it touched what became of it. `kinds` has what there is.
docs/replay.md has the file, and what each kind must cause.
"""
