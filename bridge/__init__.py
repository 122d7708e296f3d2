"""Makes a backend's answer appear token by token on every device of a Socket.IO room."""

__version__ = "0.1.0"
