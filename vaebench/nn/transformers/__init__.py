"""Transformers on patches of images and on grids of latents."""
