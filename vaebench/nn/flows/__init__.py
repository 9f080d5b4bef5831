"""Flow matching: paths, samplers, laws whose velocity is known, matching one law with another."""
