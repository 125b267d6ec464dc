"""Generating token by token: the forward passes of many conversations, and the keys and values between them."""
