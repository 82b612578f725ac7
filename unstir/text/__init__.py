"""Words in: captions and the tokenizer."""
