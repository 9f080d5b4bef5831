"""What a rehearsal is made of: made-up data and weights, shortened tables, measured runs. See `benchmarks.rehearse`."""
