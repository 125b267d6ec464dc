"""What is read from files: training rows and benchmark prompts."""
