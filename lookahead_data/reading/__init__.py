"""Reading a finished folder back, as training does: divided, shuffled, and from any position on."""
