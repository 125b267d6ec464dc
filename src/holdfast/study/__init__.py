"""One experiment: its schema, loader, plan, run, results and doctor."""
