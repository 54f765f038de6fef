"""Distortion codes of the public sets: the number in a file name and what it stands for."""

from __future__ import annotations

TID2013 = (
    "additive_gaussian_noise",
    "color_component_noise",
    "spatially_correlated_noise",
    "masked_noise",
    "high_frequency_noise",
    "impulse_noise",
    "quantization_noise",
    "gaussian_blur",
    "denoising",
    "jpeg",
    "jpeg2000",
    "jpeg_transmission_errors",
    "jpeg2000_transmission_errors",
    "non_eccentricity_pattern_noise",
    "local_blockwise_distortions",
    "mean_shift",
    "contrast_change",
    "color_saturation_change",
    "multiplicative_gaussian_noise",
    "comfort_noise",
    "lossy_compression_of_noisy_images",
    "color_quantization_with_dither",
    "chromatic_aberrations",
    "sparse_sampling_and_reconstruction",
)
"""Codes 01 to 24; TID2008 has the first 17."""

TID2008 = TID2013[:17]

KADID = (
    "gaussian_blur",
    "lens_blur",
    "motion_blur",
    "color_diffusion",
    "color_shift",
    "color_quantization",
    "color_saturation_hsv",
    "color_saturation_lab",
    "jpeg2000",
    "jpeg",
    "white_noise",
    "white_noise_in_color_components",
    "impulse_noise",
    "multiplicative_noise",
    "denoising",
    "brightening",
    "darkening",
    "mean_shift",
    "jitter",
    "non_eccentricity_patch",
    "pixelation",
    "quantization",
    "color_block",
    "high_sharpening",
    "contrast_change",
)
"""Codes 01 to 25."""

CIDIQ = (
    "jpeg2000",
    "jpeg",
    "poisson_noise",
    "gaussian_blur",
    "sgck_gamut_mapping",
    "delta_e_gamut_mapping",
)
"""Codes d1 to d6."""

CIDIQ_FOLDERS = (
    "1_JPEG2000_Compression",
    "2_JPEG_Compression",
    "3_Poisson_Noise",
    "4_Gaussian_Blur",
    "5_SGCK_Gamut_Mapping",
    "6_DeltaE_Gamut_Mapping",
)

CSIQ = {
    "noise": ("awgn", "AWGN", "white_noise"),
    "blur": ("blur", "BLUR", "gaussian_blur"),
    "contrast": ("contrast", "contrast", "contrast_decrement"),
    "fnoise": ("fnoise", "fnoise", "pink_noise"),
    "jpeg": ("jpeg", "JPEG", "jpeg"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "jpeg2000"),
}
"""``dst_type`` in the table -> folder, part of the file name, name."""

LIVE = {
    "jp2k": (227, "jpeg2000"),
    "jpeg": (233, "jpeg"),
    "wn": (174, "white_noise"),
    "gblur": (174, "gaussian_blur"),
    "fastfading": (174, "fast_fading"),
}
"""Folder -> files in it, copies of references included, and name; in the order of ``dmos.mat``."""

PIPAL = ("00", "01", "02", "03", "04", "05", "06")
"""Types of the public training set. What they are called is not in its label files."""
