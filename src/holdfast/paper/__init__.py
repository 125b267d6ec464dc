"""The whole paper as one run: presets, tables, claims."""
