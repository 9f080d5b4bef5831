"""An autoencoder with a quantiser between its halves, and what both are made of."""
