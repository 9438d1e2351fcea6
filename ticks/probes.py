"""What load balancers and Prometheus ask for: by address and over plain HTTP, whatever the gateway's name is."""

from typing import Final

__all__ = ["PROBES"]

PROBES: Final = ("/livez", "/readyz", "/healthz", "/metrics")
