"""A fine-tuning service that speaks OpenAI's API, and looks before it releases."""
