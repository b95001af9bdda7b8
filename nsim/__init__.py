"""nsim: what does this trained spiking denoiser really cost on this chip?"""
