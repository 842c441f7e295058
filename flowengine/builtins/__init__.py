"""The vocabulary of flows: where the language meets mail. Each word is one typed function."""
