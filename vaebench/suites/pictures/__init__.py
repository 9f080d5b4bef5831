"""What each suite has to show: a module per suite, of the same name, with its ``PICTURES``. No torch here."""
