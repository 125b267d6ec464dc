"""Is this tuned model safe to ship? One tuned model beside its base: measured, compared, decided."""
