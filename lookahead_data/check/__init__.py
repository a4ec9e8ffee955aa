"""Looking at what was made, and at what would be."""
