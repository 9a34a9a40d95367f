"""Read what runs left on disk."""
