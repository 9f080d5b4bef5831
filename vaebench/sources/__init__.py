"""Where answers come from: recorded files, or a language model that is asked."""
