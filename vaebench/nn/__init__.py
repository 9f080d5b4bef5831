"""Parts without opinions that methods are built from."""
