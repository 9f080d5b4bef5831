"""What trains: the loop, its schedules, the machine, checkpoints."""
