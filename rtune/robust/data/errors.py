"""Errors about data sets."""


class DataError(Exception):
    """The data is not available or not usable; the message names the file or folder and what is wrong."""


class MissingDataError(DataError):
    """The files are missing and downloading is not allowed."""
