"""The command `preview`: rows with their previews, and nothing else changed."""
