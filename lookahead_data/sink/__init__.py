"""Publishing: shards, receipts, the manifest. Nothing half-done is ever readable under a final name."""
