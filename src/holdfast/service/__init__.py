"""A fine-tuning service that speaks OpenAI's API, tunes with our own back end, and looks before it releases."""
