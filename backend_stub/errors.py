"""What the reference backend refuses to do, and why."""


class StubError(Exception):
    """Any failure of the reference backend that has one clear reason."""


class SettingError(StubError):
    """A setting or a fault that cannot be used."""


class StartError(StubError):
    """The backend is unable to begin: its port or its database is not to be had."""


class ModelError(StubError):
    """The model did not come to the end of its answer."""


class HistoryError(StubError):
    """The database did not read or store what it was asked to."""


class Refused(StubError):
    """A call that gets an HTTP error: ``status``, a ``code`` for programs, and the reason for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
