"""Floor 4: labels only. Turns arrays into a labelled dataset with provenance, and into a file and back."""

from sde_sgd.results.dataset import build
from sde_sgd.results.provenance import numerics_signature, provenance
from sde_sgd.results.store import check_writable, load, save

__all__ = ["build", "check_writable", "load", "numerics_signature", "provenance", "save"]
