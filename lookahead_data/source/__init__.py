"""From paths to conversations: find the files, read their rows, make messages of them."""
