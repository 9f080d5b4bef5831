"""How fast vaebench is beside its peers: ``make bench`` measures and writes RESULTS.md."""
