"""The configuration: keys, checks, variants, sweeps, and the command line."""

from spherical_vae.config.defaults import base_config, nvdm_config, paper_nvrnn_config
from spherical_vae.config.validation import apply_variant

__all__ = ["apply_variant", "base_config", "nvdm_config", "paper_nvrnn_config"]
