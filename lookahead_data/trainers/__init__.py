"""Trainers: what each reads, whether a folder is that, and the settings to give it. One module a trainer."""

NAMES = ("trl", "axolotl", "hf", "llama-factory", "megatron", "torch")
"""What the trainers are called."""
