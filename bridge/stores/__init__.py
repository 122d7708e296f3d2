"""Where journals and flags are kept."""
