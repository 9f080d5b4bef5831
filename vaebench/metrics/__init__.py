"""Numbers from images and features: PSNR and SSIM per image, distances of sets, the networks that give the features."""
