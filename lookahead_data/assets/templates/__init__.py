"""Built-in chat templates."""
