"""A program that cannot be measured, with the reason as its text."""


class Failure(Exception):
    """Raised wherever that shows; whoever is measured is left out."""
