"""TensorRT 10 and 11, and TensorRT-RTX: plans built from bundles, kept in the engine store.

`library` finds the library, `build` makes a plan, `plans.plan_for` takes it from the store or
builds it; none of them needs a GPU to be imported.
"""
