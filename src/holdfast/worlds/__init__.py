"""Models and benchmarks that come with the package."""
