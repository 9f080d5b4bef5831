"""What happens to latents: posteriors, selections, neighbours."""
