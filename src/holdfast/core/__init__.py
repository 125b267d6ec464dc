"""What every room uses: types, errors, protocols, configuration, files, the run folder, budget and workers."""
