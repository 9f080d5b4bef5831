"""Numbers from images and features: PSNR and SSIM per image, the Frechet distance, the FID network."""
