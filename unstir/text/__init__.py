"""Prompts and captions: length check, tokenizers, vocabulary and spelling."""
