"""The stages that a row passes: preview, render, encode, label, fit. Pure, and strangers to each other."""
