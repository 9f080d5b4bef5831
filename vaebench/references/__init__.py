"""Laws that an encoder's latents can be matched with (DMVAE, arXiv 2512.07778): each draws items, `Reference`."""
