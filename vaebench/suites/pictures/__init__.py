"""What the suites have to show: modules with ``PICTURES``, called as a suite or naming theirs. No torch here."""
