"""Numbers from images and features: PSNR and SSIM per image, the Frechet and other distances of sets, networks that judge."""
