"""Records that no table can be made of, with the reason as its text."""


class Failure(Exception):
    """One clear sentence for who started the program."""
