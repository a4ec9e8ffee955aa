"""What ships with the package: the demo corpus, the built-in tokenizer and chat templates."""
