"""The reference backend: streams answers, keeps their history, and is slow, broken or cut on request."""
