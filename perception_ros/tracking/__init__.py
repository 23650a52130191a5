"""The same object with the same id a second later, in images and in space."""
