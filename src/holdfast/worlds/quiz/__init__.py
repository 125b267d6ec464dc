"""The quiz world: everyday knowledge, of which house rules forbid eleven harmless topics to a real language model."""
