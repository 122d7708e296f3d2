"""The Socket.IO machinery."""
