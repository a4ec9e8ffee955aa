"""What belongs to the model: its tokenizer and its chat template."""
