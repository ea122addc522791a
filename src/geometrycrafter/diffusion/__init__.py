"""Diffusion as in EDM (Karras et al. 2022): preconditioning and the sampler, free of any pipeline."""
