"""A model: found, loaded safely, spoken to through its chat template, asked for answers here or over HTTP."""
