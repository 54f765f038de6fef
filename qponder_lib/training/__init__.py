"""Training: thin calls into TRL's trainers, restartable at any moment."""
